"""The training loop: its numbers against a loop written out by hand, stopping, saving, errors."""

import json
import math

import numpy as np
import pytest
import torch

from segkit.api import build_runner
from segkit.criterion import build_criterion
from segkit.engine import checkpoint
from segkit.engine.hooks import Checkpoint, Evaluate, Hook, Log, standard_hooks
from segkit.engine.loop import Loop
from segkit.engine.optim import Ema, build_optimizer
from segkit.engine.setup import build_training, pick_device
from segkit.engine.terms import NonFiniteLoss
from segkit.registry import ConfigError, build_model
from tests.tiny import sections

CPU = torch.device("cpu")


class Record(Hook):
    """Keeps the terms of every step."""

    def __init__(self):
        self.losses = []

    def after_step(self, loop, terms):
        self.losses.append({name: float(value) for name, value in terms.items()})


def loop_of(cfg: dict, folder, hooks=()) -> Loop:
    return Loop(cfg, build_runner(cfg), work_dir=folder, device=CPU, hooks=hooks)


def by_hand(cfg: dict, steps: int) -> list[dict[str, float]]:
    """The same run in twenty plain lines: SGD, poly rate, two losses."""
    seed = cfg["loop"].get("seed", 0)
    torch.manual_seed(seed)
    items, sampler, settings = build_training(cfg["train"], seed)
    model, criterion = build_model(cfg["model"]).train(), build_criterion(cfg["losses"])
    norms = [p for name, p in model.named_parameters() if name.split(".")[2:3] == ["1"]]
    others = [p for name, p in model.named_parameters() if name.split(".")[2:3] != ["1"]]
    groups = [dict(params=others), dict(params=norms, weight_decay=0.0)]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=1e-4)
    torch.manual_seed(seed + 1000003)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / steps) ** 0.9
        keys = range(step * settings.batch_size, (step + 1) * settings.batch_size)
        samples = [items[(position, sampler.index(position))] for position in keys]
        image = torch.stack([torch.from_numpy(s["image"]).permute(2, 0, 1) for s in samples])
        mask = torch.stack([torch.from_numpy(s["mask"].astype(np.int64)) for s in samples])
        terms = criterion(model(image), {"image": image, "mask": mask}, step)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append({name: value.item() for name, value in terms.items()})
    return losses


def test_twenty_steps_equal_the_plain_loop(tmp_path):
    cfg = sections()
    cfg["loop"]["steps"] = 20
    record = Record()
    loop_of(cfg, tmp_path, (record,)).fit()
    for ours, plain in zip(record.losses, by_hand(cfg, 20), strict=True):
        assert ours == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("batch_size", [2, 8])
def test_accumulation_equals_one_large_batch(batch_size, tmp_path):
    """2 x 2 images are 4 images, and 2 x 8 are 16, where batch norm does not mix them."""

    def losses_and_weights(batch_size, accumulate):
        cfg = sections(accumulate=accumulate)
        cfg["model"]["backbone"]["dropout"] = 0.0
        cfg["train"]["batch_size"] = batch_size
        loop = loop_of(cfg, tmp_path)
        for module in loop.raw_model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
                module.train = lambda mode=True, module=module: module
        loop.fit()
        return torch.cat([p.detach().flatten() for p in loop.raw_model.parameters()])

    assert torch.allclose(losses_and_weights(batch_size, 2), losses_and_weights(2 * batch_size, 1), atol=1e-6)


def test_hard_then_soft_is_said_once_and_taken_up_where_it_was(tmp_path, capsys):
    """6 steps, .7 of them hard: the switch comes after step 4, also where a run goes on from step 3."""
    cfg = sections()
    policy = dict(type="HardThenSoft", share=0.7, hard=[dict(type="RandAugment"), dict(type="CutMix")], soft=[])
    cfg["train"]["dataset"]["instances"] = False
    cfg["train"]["transforms"] = [policy, dict(type="Flip")]

    def run(folder, hooks) -> list[dict[str, float]]:
        record = Record()
        loop = loop_of(cfg, folder, (Log(tensorboard=False), *hooks, record))
        if (folder / "last.pt").is_file():
            loop.load_state_dict(checkpoint.read(folder / "last.pt"), folder / "last.pt")
        loop.fit()
        return record.losses

    whole = run(tmp_path / "whole", ())
    said = [line for line in capsys.readouterr().out.splitlines() if "transforms change" in line]
    assert said == ["step 4  the transforms change; from here on: Flip"]

    class Halt(Hook):
        def after_step(self, loop, terms):
            loop.is_stopping = loop.step == 3

    first = run(tmp_path / "parts", (Checkpoint(), Halt()))
    assert "transforms change" not in capsys.readouterr().out
    assert first + run(tmp_path / "parts", (Checkpoint(),)) == whole
    assert "step 4  the transforms change" in capsys.readouterr().out


def test_groups_multiply_and_cover_every_parameter_once():
    model = build_model(sections()["model"])
    rows = [dict(kind="norm", decay=0.0), dict(match=r"^backbone", lr=0.1), dict(match=r"first", lr=0.5)]
    optimizer = build_optimizer(dict(type="AdamW", lr=1.0, weight_decay=0.2, groups=rows), model)
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert len(rates) == len(list(model.parameters()))
    named = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert named["backbone.first.0.weight"] == (0.05, 0.2)
    assert named["backbone.first.1.weight"] == (0.05, 0.0)
    assert named["backbone.second.0.bias"] == (0.1, 0.2)
    assert named["head.classifier.bias"] == (1.0, 0.2)


def test_a_group_that_matches_nothing_is_an_error():
    with pytest.raises(ConfigError, match=r"optimizer.groups.0 .*no trainable parameter matches"):
        build_optimizer(dict(type="SGD", lr=1.0, groups=[dict(match="encoder")]), build_model(sections()["model"]))


def test_ema_by_hand():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.0)
    ema = Ema(model, decay=0.5)
    for step, value in enumerate((1.0, 2.0)):
        torch.nn.init.constant_(model.weight, value)
        ema.update(model, step)
    first = 0.9 * 1.0  # decay (1 + 0) / (10 + 0)
    assert float(ema.module.weight) == pytest.approx(first + (1 - 2 / 11) * (2.0 - first))


def test_evaluation_does_not_move_the_training(tmp_path):
    def losses(**loop):
        cfg, record = sections(**loop), Record()
        loop_of(cfg, tmp_path, (Evaluate(), record)).fit()
        return record.losses

    assert losses() == losses(eval_every=1)


def test_a_run_leaves_its_files(tmp_path):
    loop_of(sections(eval_every=3, keep=1), tmp_path, standard_hooks()).fit()
    assert {"last.pt", "best.pt", "log.jsonl", "pictures", "step_6.pt"} <= {p.name for p in tmp_path.iterdir()}
    assert not list(tmp_path.glob(".*tmp")) and not (tmp_path / "step_3.pt").exists()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "loss" in r] == [1, 2, 4, 6]
    assert [r["step"] for r in records if "val" in r] == [3, 6]
    content = checkpoint.read(tmp_path / "last.pt")
    assert content["step"] == 6 and content["config"]["loop"]["steps"] == 6 and len(content["classes"]) == 6
    best = max(r["val"]["mIoU"] for r in records if "val" in r)
    assert content["best"] == pytest.approx(best)


class Poison(torch.nn.Module):
    """A loss that becomes NaN at its third call."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, logits):
        self.calls += 1
        return logits.mean() * (math.nan if self.calls == 3 else 1.0)


def test_a_non_finite_loss_names_term_step_and_files_and_saves_nothing(tmp_path):
    cfg = sections()
    cfg["losses"].append(dict(type="tests.test_loop:Poison", name="poison"))
    cfg["loop"]["save_every"] = 1
    loop = loop_of(cfg, tmp_path, (Log(tensorboard=False), Checkpoint()))
    with pytest.raises(NonFiniteLoss, match=r"'poison' is nan at step 3; batch: .*train.*nothing was saved after"):
        loop.fit()
    assert checkpoint.read(tmp_path / "last.pt")["step"] == 2


def test_a_non_finite_weight_is_not_saved(tmp_path):
    loop = loop_of(sections(), tmp_path)
    with torch.no_grad():
        next(loop.raw_model.parameters())[0] = math.inf
    with pytest.raises(NonFiniteLoss, match="a weight is not finite"):
        loop.state_dict()


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"model": {"w": torch.ones(1)}})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(checkpoint.CheckpointError, match=r"last.pt: cannot be written .*No space left"):
        checkpoint.save(path, {"model": {"w": torch.zeros(1)}})
    assert float(checkpoint.read(path)["model"]["w"]) == 1.0
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize(
    "loop, message",
    [
        (dict(amp="fp16"), "loop.amp = 'fp16': needs a GPU"),
        (dict(amp="half"), "loop.amp = 'half': must be one of 'auto', 'off', 'bf16', 'fp16'"),
        (dict(sync_bn=True), "loop.sync_bn = True: .* runs on GPUs only"),
        (dict(epochs=3), "loop: 6 steps, 3 epochs; give one, set the other to 0"),
    ],
)
def test_impossible_settings(tmp_path, loop, message):
    with pytest.raises(ConfigError, match=message):
        loop_of(sections(**loop), tmp_path)


def test_cuda_where_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="--device cuda: this machine has no CUDA GPU"):
        pick_device("cuda")


def test_monitor_must_be_a_score(tmp_path):
    message = r"loop.monitor = 'mIou': no such score; did you mean 'mIoU'\?; available: mIoU"
    with pytest.raises(ConfigError, match=message):
        loop_of(sections(monitor="mIou"), tmp_path)


def test_classes_of_model_and_data_must_agree(tmp_path):
    cfg = sections()
    cfg["model"]["num_classes"] = 4
    with pytest.raises(ConfigError, match=r"model.num_classes = 4: Shapes has 6 classes"):
        loop_of(cfg, tmp_path)


def test_epochs_count_images(tmp_path):
    cfg = sections(epochs=2)
    del cfg["loop"]["steps"]
    assert loop_of(cfg, tmp_path).total_steps == 12  # 2 epochs of 12 images in batches of 2
