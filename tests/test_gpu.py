"""What a GPU computes is what the CPU computes: losses, networks, trees, trainings of every runner, resume."""

import copy
import json
from pathlib import Path

import pytest
import torch

from segkit import api
from segkit.cli import test as test_command
from segkit.cli import train as train_command
from segkit.engine import checkpoint
from segkit.engine.hooks import Checkpoint, Log
from segkit.engine.loop import Loop
from segkit.ops.instances.spanning_tree import edge_weights, spanning_edges
from segkit.ops.instances.structure_maps import structure_maps
from segkit.ops.interactive import next_click
from segkit.ops.interactive.distance import exact_distance
from segkit.ops.interactive.next_click import next_training_clicks
from segkit.runners.semantic import Semantic
from tests.archs_table import ROWS
from tests.instances.test_box_runner import METHODS
from tests.instances.test_box_runner import sections as box_sections
from tests.losses.cases import CASES
from tests.test_archs import NAMES, inputs, small
from tests.tiny import sections

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = torch.device("cuda")
QUICKSTART = Path(__file__).parents[1] / "configs/quickstart"


@pytest.fixture(autouse=True)
def full_precision():
    """float32 as the CPU has it: no tf32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_loss_and_gradient(case):
    logits, rest = case.inputs()
    found = []
    for device in ("cpu", "cuda"):
        x = logits.to(device).requires_grad_()
        value = case.build().to(device)(x, *(part.to(device) for part in rest))
        found.append((value.detach().cpu(), torch.autograd.grad(value, x)[0].cpu()))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_network(name):
    model, x = small(name), inputs(name, ROWS[name].sizes[0])
    expected = model(*x)["logits"]
    model = copy.deepcopy(model).to(GPU)
    found = model(*(part.to(GPU) for part in x))["logits"].cpu()
    assert (found - expected).abs().max() < 1e-3 * max(expected.std(), 1e-3)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cuda", dtype):
            rounded = model(*(part.to(GPU) for part in x))["logits"].float().cpu()
        assert (rounded - expected).square().mean().sqrt() < 0.25 * expected.std()


def test_spanning_trees_are_the_same_edges():
    guide = torch.randint(0, 4, (3, 3, 21, 34), generator=torch.Generator().manual_seed(0)).float()  # many equals
    weights = edge_weights(guide)
    assert torch.equal(spanning_edges(weights.cuda(), (21, 34)).cpu(), spanning_edges(weights, (21, 34)))


def test_masks_along_trees():
    draw = torch.Generator().manual_seed(0)
    masks, image = torch.rand(3, 20, 30, generator=draw), torch.rand(2, 3, 20, 30, generator=draw)
    features, found = torch.rand(2, 5, 20, 30, generator=draw), []
    for device in ("cpu", "cuda"):
        leaves = [part.to(device, copy=True).requires_grad_() for part in (masks, features)]
        maps = structure_maps(leaves[0], image.to(device), leaves[1], [1, 2])
        maps.square().sum().backward()
        found.append([maps.detach().cpu(), *(leaf.grad.cpu() for leaf in leaves)])
    for ours, theirs in zip(*found):
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_first_step_of_instances(method, tmp_path):
    """Losses of one batch, and finite gradients under bfloat16."""
    found = []
    for device, amp in (("cpu", "off"), ("cuda", "off"), ("cuda", "bf16")):
        cfg = box_sections(method, amp=amp)
        loop = Loop(cfg, api.build_runner(cfg), work_dir=tmp_path, device=torch.device(device), hooks=())
        torch.manual_seed(0)  # Mask2Former draws its points
        loop.total_steps = 1
        loop.fit()
        found.append({name: float(value) for name, value in loop.terms.pending[0].terms.items()})
        assert all(p.grad is None or p.grad.isfinite().all() for p in loop.raw_model.parameters())
    if method != "Mask2FormerMasks":  # whose points differ, as the devices draw different numbers
        assert found[1] == pytest.approx(found[0], rel=1e-3, abs=1e-4)
    assert found[2] == pytest.approx(found[1], rel=0.1, abs=0.05)


def test_next_training_clicks(monkeypatch):
    monkeypatch.setattr(next_click, "edt_5x5", exact_distance)  # on the CPU it approximates
    draw = torch.Generator().manual_seed(1)
    truth = torch.nn.functional.interpolate(torch.rand(4, 1, 6, 8, generator=draw), (48, 64), mode="bilinear")
    probabilities, truth = truth.roll(9, 2), (truth > 0.5).float()
    found = [
        next_training_clicks(probabilities.to(device), truth.to(device), torch.Generator().manual_seed(0)).cpu()
        for device in ("cpu", "cuda")
    ]
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("runner", ["semantic", "interactive", "incremental", "box_supervised"])
def test_quickstart_begins_like_on_the_cpu(runner, tmp_path):
    """The first logged losses of both devices; then bf16 and fp16 with tests of what was trained."""
    config, first = str(QUICKSTART / f"{runner}.py"), []
    short = [
        "loop.steps=3",
        "loop.log_every=1",
        "loop.eval_every=3",
        "loop.save_every=3",
        "val.dataset.length=20",
        "test.dataset.length=20",
    ]
    # the rounds of clicks are drawn by the device
    short += {"incremental": ["runner.later.loop.steps=2"], "interactive": ["runner.iterations=0"]}.get(runner, [])
    for name, device, amp in (("a", "cpu", "off"), ("b", "cuda", "off"), ("c", "cuda", "bf16"), ("d", "cuda", "fp16")):
        folder = tmp_path / name
        command = [config, "--work-dir", str(folder), "--device", device, "--cfg-options", f"loop.amp='{amp}'", *short]
        assert train_command.main(command) == 0
        log = next(iter(sorted(folder.rglob("log.jsonl")))).read_text().splitlines()
        first.append(next(row["loss"] for row in map(json.loads, log) if "loss" in row))
        last = sorted(folder.rglob("last.pt"))[-1]
        options = ["--device", "cuda", "--out", str(folder / "scores.json"), "--show", str(folder / "shown")]
        assert test_command.main(["none", str(last), *options]) == 0
    assert first[1] == pytest.approx(first[0], rel=2e-3)
    assert first[2:] == pytest.approx([first[0]] * 2, rel=0.05)


@pytest.mark.parametrize(("amp", "tolerance"), [("off", 1e-6), ("bf16", 1e-6), ("fp16", 1e-3)])
def test_resume(amp, tolerance, tmp_path):
    """6 steps against 3, a checkpoint and 3: equal weights, as far as this device repeats itself: in float16 it adds up
    gradients in another order each time."""

    def loop(folder):
        return Loop(sections(amp=amp, ema=0.9), Semantic(), work_dir=folder, device=GPU, hooks=(Log(), Checkpoint()))

    whole = loop(tmp_path / "whole")
    whole.fit()
    first = loop(tmp_path / "parts")
    first.total_steps = 3
    first.fit()
    second = loop(tmp_path / "parts")
    second.load_state_dict(checkpoint.read(tmp_path / "parts" / "last.pt"), tmp_path)
    second.fit()
    assert second.step == 6 and second.scaler.state_dict() == whole.scaler.state_dict()
    for (name, ours), theirs in zip(whole.raw_model.state_dict().items(), second.raw_model.state_dict().values()):
        torch.testing.assert_close(theirs, ours, rtol=10 * tolerance, atol=tolerance, msg=name)


def test_compiled_step(tmp_path):
    """Inductor trains like the plain step."""
    found = []
    for compile in (False, True):
        cfg = sections(compile=compile)
        cfg["model"]["backbone"]["dropout"] = 0.0
        loop = Loop(cfg, Semantic(), work_dir=tmp_path, device=GPU, hooks=())
        loop.total_steps = 2
        loop.fit()
        found.append([float(value) for _, _, terms in loop.terms.pending for value in terms.values()])
    assert found[1] == pytest.approx(found[0], rel=1e-3)
