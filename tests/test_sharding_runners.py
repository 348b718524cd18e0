"""Sharded trainings that take longer: other runners, frozen layers and updates, other numbers of processes."""

from pathlib import Path

import pytest

from segkit import dist
from segkit.engine import checkpoint
from segkit.engine.shard_state import folders
from segkit.engine.sharded_checkpoint import read_state
from tests.test_distributed import PlainBackbone  # noqa: F401  named by configs
from tests.test_loop import loop_of
from tests.test_sharding import VIT, Stop, apart, config, in_processes, train

pytestmark = pytest.mark.slow


def both_ways(cfg: dict, folder: Path) -> list:
    """The run with whole models and the sharded one."""
    return [
        train({**cfg, "loop": {**cfg["loop"], "shard": shard}}, folder / shard, resume=None)
        for shard in ("off", "fsdp")
    ]


def compared(cfg: dict, folder: Path, within: float = 1e-5) -> None:
    for whole, parts in in_processes(both_ways, 2, cfg, folder):
        assert whole[0] == [pytest.approx(terms, abs=within, rel=within) for terms in parts[0]]
        assert len(whole[0]) > 0 and parts[1] < 1
    found = [
        sorted(path.relative_to(folder / name) for path in (folder / name).rglob("last.pt")) for name in ("off", "fsdp")
    ]
    assert found[0] == found[1] and found[0]
    for path in found[0]:
        whole, parts = (checkpoint.read(folder / name / path)["model"] for name in ("off", "fsdp"))
        assert apart(whole, parts) < within


def test_frozen_layers_updates_and_accumulation(tmp_path):
    cfg = config(VIT, accumulate=2, checkpoint_activations=True)
    cfg["optimizer"] = dict(type="SGD", lr=0.05, lora=dict(match="qkv", rank=2))
    cfg["optimizer"]["freeze"] = ["backbone.encoder.model.blocks.0", "aux"]
    compared(cfg, tmp_path)
    assert any(name.endswith("weight.0.up") for name in checkpoint.read(tmp_path / "fsdp/last.pt")["model"])


def test_clicks_of_unlike_rounds(tmp_path):
    from tests.interactive.test_click_training import sections

    cfg = sections()
    cfg["optimizer"] = dict(type="SGD", lr=1e-2)
    compared(cfg, tmp_path)


@pytest.mark.parametrize("method", ["Mask2FormerMasks", "SOLOv2Masks"])
def test_instances(tmp_path, method):
    from tests.instances.test_box_runner import sections

    cfg = sections(method)
    cfg["optimizer"] = dict(type="SGD", lr=1e-3)
    compared(cfg, tmp_path, within=1e-4)


def test_class_steps(tmp_path):
    from tests.incremental.test_step_runs import config as steps

    cfg = steps(steps=((0, 1, 2, 3), (4, 5)))
    compared(cfg, tmp_path)


def test_half_precision_stays_near(tmp_path):
    cfg = config(VIT, amp="bf16", steps=3)
    compared(cfg, tmp_path, within=0.05)


def taken_up(cfg: dict, path: Path, folder: Path) -> tuple[dict | None, list]:
    """What a group of processes holds of a checkpoint before its next step, on the main one; then the run's rest."""
    loop = loop_of(cfg, folder / "tried")
    loop.load_state_dict(read_state(path), path)
    state = loop.state_dict()
    losses = train(cfg, folder / "run", resume=path)[0]
    return (state if dist.is_main() else None), losses


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2), (2, 1)])
def test_other_numbers_of_processes_go_on(tmp_path, before, after):
    """The state is the same to the last bit, and the images are the same: losses are means over other shares."""
    cfg = config(VIT, save_every=2)
    cfg["train"]["batch_size"] = 4 // before
    in_processes(train, before, cfg, tmp_path / "first", [Stop(1)])
    path = folders(tmp_path / "first")[-1]
    cfg = config(VIT, "fsdp" if after > 1 else "off")
    cfg["train"]["batch_size"] = 4 // after
    state, losses = in_processes(taken_up, after, cfg, path, tmp_path / "second")[0]
    saved = checkpoint.read(path)
    assert apart(saved["model"], state["model"]) == 0 and apart(saved["ema"], state["ema"]) == 0
    entries = saved["optimizer"]["state"], state["optimizer"]["state"]
    assert all(apart(entries[0][number], entries[1][number]) == 0 for number in entries[0])
    assert len(losses) == 6 - saved["step"]


def from_file(cfg: dict, path: Path, folder: Path) -> dict | None:
    """What a sharded training holds of an ordinary checkpoint."""
    loop = loop_of(cfg, folder)
    loop.load_state_dict(checkpoint.read(path), path)
    assert dist.is_sharded_model(loop.raw_model)
    state = loop.state_dict()
    return state if dist.is_main() else None


def test_a_sharded_training_goes_on_from_a_file(tmp_path):
    cfg = config(VIT, "off", steps=2, eval_every=0)
    cfg["train"]["batch_size"] = 4
    loop = loop_of(cfg, tmp_path / "one")
    loop.fit()
    path = tmp_path / "one.pt"
    checkpoint.save(path, loop.state_dict())
    cfg = config(VIT)
    state = in_processes(from_file, 2, cfg, path, tmp_path / "two")[0]
    saved = checkpoint.read(path)
    assert state["step"] == 2 and apart(saved["model"], state["model"]) == 0 and apart(saved["ema"], state["ema"]) == 0
    entries = saved["optimizer"]["state"], state["optimizer"]["state"]
    assert entries[0] and all(apart(entries[0][number], entries[1][number]) == 0 for number in entries[0])


def killed(cfg: dict, folder: Path) -> None:
    """A run whose second process dies while the checkpoint of step 4 is written."""
    from segkit.engine import shard_writing
    from segkit.engine.hooks import Hook

    class Die(Hook):
        def after_step(self, loop, terms):
            if loop.step == 4 and dist.rank() == 1:
                loop.shards.wait(alone=True)
                raise KeyError("dies")

    if dist.is_main():
        finish = shard_writing.ShardWriter.finish

        def fail(self, metadata, results):
            if (folder / "shards/step_2").exists():
                raise OSError("no space left")
            return finish(self, metadata, results)

        shard_writing.ShardWriter.finish = fail
    try:
        train(cfg, folder, [Die()])
    except Exception as error:
        (folder / f"error_{dist.rank()}").write_text(f"{type(error).__name__}: {error}")


def test_a_checkpoint_that_is_not_finished_leaves_the_last_whole_one(tmp_path):
    cfg = config(VIT, save_every=2, eval_every=0)
    in_processes(killed, 2, cfg, tmp_path)
    assert [path.name for path in folders(tmp_path)] == ["step_2"]
    assert checkpoint.read(tmp_path / "shards/step_2")["step"] == 2
    assert "step_4: cannot be written" in (tmp_path / "error_1").read_text()
    in_processes(resumed, 2, cfg, tmp_path)
    assert checkpoint.read(tmp_path / "last.pt")["step"] == 6 and not list((tmp_path / "shards").glob("*"))


def resumed(cfg: dict, folder: Path) -> None:
    train(cfg, folder, resume=True)


def test_more_processes_than_images_are_scored(tmp_path):
    cfg = config()
    cfg["val"]["dataset"]["length"] = 1
    compared(cfg, tmp_path)
