"""Two gloo processes that share a model out between them: equal to DistributedDataParallel, and resumable."""

import json
import os
import pickle
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as torch_dist
from torch import multiprocessing

from segkit import api, dist
from segkit.config import Config
from segkit.engine import checkpoint
from segkit.engine.checkpoint import CheckpointError
from segkit.engine.hooks import Hook
from segkit.engine.shard_state import folders
from segkit.engine.sharded_checkpoint import read_state
from segkit.files import DataError
from segkit.readers.shard_folder import read_index
from segkit.registry import ConfigError
from segkit.runners.training import Start, run_training
from tests.test_loop import loop_of
from tests.tiny import TinyBackbone, sections

VIT = dict(type="Timm", name="vit_tiny_patch16_224", img_size=(32, 32), drop_path_rate=0.2, final_norm=True)
VIT["options"] = dict(depth=4, embed_dim=24, num_heads=2)


class Scaled(TinyBackbone):
    """With a weight of one number, as the heads of CondInst and BoxInst have them."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))


class Losses(Hook):
    """The terms of every step, and the largest share of the weights that this process holds."""

    def __init__(self):
        self.terms, self.share = [], 0.0

    def after_step(self, loop, terms):
        self.terms.append({name: float(value) for name, value in terms.items()})
        parts = [dist.own_part(p).numel() for p in loop.raw_model.parameters()]
        self.share = sum(parts) / sum(p.numel() for p in loop.raw_model.parameters())


class Stop(Hook):
    """Ends a run after a step, as a signal does."""

    def __init__(self, step: int):
        self.step = step

    def after_step(self, loop, terms):
        if loop.step == self.step:
            loop.stop_request.is_asked = True


def in_processes(work, count: int, *arguments):
    """Calls `work` in that many processes of one group; returns what each of them returns."""
    before_a_group()
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(_enter, (work, count, folder, arguments), nprocs=count, start_method="spawn")
        return [pickle.loads((Path(folder) / f"{rank}").read_bytes()) for rank in range(count)]


def before_a_group() -> None:
    """Imports what keeps the group that exists at its import; see segkit.dist.start. The processes need not again."""
    import torch.distributed.fsdp
    import torch.distributed.nn.functional  # noqa: F401


def _enter(rank: int, work, count: int, folder: str, arguments: tuple) -> None:
    torch.set_num_threads(1)
    torch_dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count)
    (Path(folder) / f"{rank}").write_bytes(pickle.dumps(work(*arguments)))
    dist.stop()


def config(encoder: dict | None = None, shard: str = "fsdp", **loop) -> dict:
    """A run of six steps on two processes, scored on three images in the middle and at the end."""
    cfg = sections(eval_every=3, clip=0.5, ema=0.9, shard=shard)
    cfg["loop"] |= loop
    cfg["val"]["dataset"]["length"] = 3
    if encoder is not None:
        cfg["model"]["backbone"] = encoder
        # an attention's keys have a bias without gradient, which a small eps would turn noise into steps of
        cfg["optimizer"] = dict(type="AdamW", lr=1e-3, eps=1e-4, layer_decay=dict(rate=0.8))
    return cfg


def train(cfg: dict, folder: Path, hooks=(), resume=None) -> tuple[list, float]:
    """Trains in this group of processes; the losses of its steps, and the share of the weights that it holds."""
    losses = Losses()
    folder.mkdir(exist_ok=True, parents=True)
    result = run_training(Config(cfg), folder, torch.device("cpu"), [losses, *hooks], Start(resume=resume))
    assert not dist.is_sharded_model(result.model)
    return losses.terms, losses.share


NETS = {"norms": None, "vit": VIT}


def all_runs(folder: Path) -> dict:
    """The runs of the quick tests, in one group, since processes take seconds to start."""
    done = {}
    for name, encoder in NETS.items():
        for shard in ("off", "fsdp"):
            done[name, shard] = train(config(encoder, shard), folder / name / shard)
    cfg = config(VIT, save_every=2, keep=1)
    done["stopped"] = train(cfg, folder / "stopped", [Stop(1)])
    if dist.is_main():
        shutil.copytree(folder / "stopped", folder / "copy")
    dist.barrier()
    done["resumed"] = train(cfg, folder / "stopped", resume=True)
    done["refused"] = refusals(folder / "refused")
    return done


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    return folder, in_processes(all_runs, 2, folder)


def apart(a: dict, b: dict) -> float:
    assert a.keys() == b.keys()
    return max(float((a[key].double() - b[key].double()).abs().max()) for key in a)


@pytest.mark.parametrize("name", NETS)
def test_two_processes_train_as_with_whole_models(runs, name):
    """Losses, gradient norms, weights, batch statistics and the moving average after six steps, and the scores."""
    folder, done = runs
    for of_process in done:
        whole, parts = of_process[name, "off"], of_process[name, "fsdp"]
        assert whole[1] == 1.0 and 0.35 < parts[1] < 0.65, "each process holds half"
        assert whole[0] == [pytest.approx(terms, abs=1e-5) for terms in parts[0]]
    whole, parts = (checkpoint.read(folder / name / shard / "last.pt") for shard in ("off", "fsdp"))
    assert apart(whole["model"], parts["model"]) < 1e-5 and apart(whole["ema"], parts["ema"]) < 1e-5
    assert parts["step"] == 6 and parts["best"] == pytest.approx(whole["best"], abs=0.2)


def test_a_stopped_run_goes_on_to_the_last_bit(runs):
    folder, done = runs
    for of_process in done:
        assert of_process["stopped"][0] + of_process["resumed"][0] == of_process["vit", "fsdp"][0]
    straight, resumed = (checkpoint.read(folder / name / "last.pt") for name in ("vit/fsdp", "stopped"))
    for key in ("model", "ema"):
        assert apart(straight[key], resumed[key]) == 0
    entries = [state["optimizer"]["state"] for state in (straight, resumed)]
    assert all(apart(entries[0][number], entries[1][number]) == 0 for number in entries[0])
    assert [path.name for path in folders(folder / "stopped")] == ["step_4"], "keep=1, beside last.pt of the end"


def test_a_folder_is_read_as_one_file(runs):
    """By one process, whole: to predict, and to go on without sharding, on the same stream of images."""
    folder, _ = runs
    path = folders(folder / "copy")[-1]
    assert path.name == "step_3" and not (folder / "copy/last.pt").exists()
    model = api.load_model(path, trust=True)
    assert api.predict(model, torch.zeros(32, 32, 3, dtype=torch.uint8).numpy())["labels"].shape == (32, 32)
    cfg = config(VIT, "off")
    cfg["train"]["batch_size"] = 4
    losses = Losses()
    loop = loop_of(cfg, folder / "alone", (losses,))
    notes = loop.load_state_dict(read_state(path), path)
    assert any("2 x 1 x 2 -> 4 x 1 x 1" in note for note in notes) and loop.step == 3
    saved, own = checkpoint.read(path), loop.state_dict()
    for key in ("model", "ema"):
        assert apart(saved[key], own[key]) == 0
    assert all(apart(saved["optimizer"]["state"][n], v) == 0 for n, v in own["optimizer"]["state"].items())
    loop.fit()
    assert len(losses.terms) == 3


def test_nothing_of_a_foreign_folder_is_executed(runs, tmp_path):
    """torch's own index is a pickle, and is not opened."""
    path = shutil.copytree(folders(runs[0] / "copy")[-1], tmp_path / "step_3")
    (path / ".metadata").write_bytes(b"cposix\nsystem\n(S'touch %s'\ntR." % os.fsencode(tmp_path / "pwned"))
    assert checkpoint.read(path)["step"] == 3
    for name in ("state.pt", "__0_0.distcp"):
        changed = shutil.copytree(path, tmp_path / f"with_{name}")
        payload = pickle.dumps(_Harm(tmp_path / "pwned"))
        (changed / name).write_bytes(payload.ljust((path / name).stat().st_size, b"."))
        with pytest.raises(CheckpointError, match=name):
            checkpoint.read(changed)
    assert not (tmp_path / "pwned").exists()


class _Harm:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index["tensors"]["model/head.classifier.bias"]["parts"][0].__setitem__(2, "../x"), "entry of"),
        (lambda index: index["tensors"]["model/head.classifier.bias"].update(size=[1 << 40]), "do not cover"),
        (lambda index: index["tensors"]["model/head.classifier.bias"].update(dtype="object"), "entry of"),
        (lambda index: index.update(format=2), "of this version"),
        (lambda index: index["tensors"]["model/head.classifier.bias"]["parts"][0].__setitem__(3, 1 << 40), "bytes of"),
    ],
)
def test_an_index_that_is_wrong_is_refused(runs, tmp_path, change, message):
    path = shutil.copytree(folders(runs[0] / "copy")[-1], tmp_path / "step_3")
    index = json.loads((path / "shards.json").read_text())
    change(index)
    (path / "shards.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=message) as error:
        read_index(path)
    assert "shards.json" in str(error.value) or "distcp" in str(error.value)


def test_missing_and_damaged_parts_are_named(runs, tmp_path):
    path = shutil.copytree(folders(runs[0] / "copy")[-1], tmp_path / "step_3")
    file = path / "__1_0.distcp"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"__1_0\.distcp"):
        checkpoint.read(path)
    file.unlink()
    with pytest.raises(CheckpointError, match=r"__1_0\.distcp: is missing"):
        checkpoint.read(path)
    (path / "shards.json").unlink()
    with pytest.raises(CheckpointError, match="step_3"):
        checkpoint.read(path)


def test_one_process_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"loop.shard = 'fsdp': this run has one process.*torchrun"):
        loop_of(config(), tmp_path)


def refusals(folder: Path) -> list[str]:
    """The sentences on trainings that cannot be sharded."""
    said = []
    for section, values in REFUSED:
        cfg = config()
        cfg[section] = {**cfg.get(section, {}), **values}
        try:
            loop_of(cfg, folder)
        except ConfigError as error:
            said.append(str(error))
    return said


REFUSED = (
    ("loop", dict(compile=True)),
    ("loop", dict(channels_last=True)),
    ("weighting", dict(type="Uncertainty")),
    ("runner", dict(type="Distillation", teacher="teacher.pt")),
    ("model", dict(backbone=dict(type="tests.test_sharding:Scaled"))),
)


def test_what_cannot_be_sharded_is_refused(runs):
    words = ("loop.compile", "loop.channels_last", "`weighting`", "Distillation", "model.backbone.scale")
    for of_process in runs[1]:
        said = of_process["refused"]
        assert len(said) == len(REFUSED) and all(text.startswith("loop.shard = 'fsdp': ") for text in said), said
        assert all(word in text for word, text in zip(words, said))
