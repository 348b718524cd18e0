"""SSUL against numbers of its code: losses, read-out, network, and three runs of its trainer; tests/fixtures/steps."""

import copy
import gzip
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs.ssul import SSULHead
from segkit.convert.maps.ssul import MAPS
from segkit.losses.incremental.ssul import PseudoLabelBCE, UnknownBCE
from segkit.models.bases import Backbone
from segkit.models.growing_segmentor import GrowingSegmentor, grow, init_unknown, sizes_in, sizes_of
from segkit.models.readouts import READOUTS
from segkit.registry import build_model
from segkit.runners.incremental.frozen import stay_in_evaluation, train_only
from segkit.types import UNKNOWN
from tests.incremental.steps_oracle import FOLDER, by_rule, resized, stored

RUNS = stored("ssul_trainer.npz")
MAP = MAPS["ssul"]


class Tiny(Backbone):
    mean, std, channels, strides = (127.5,) * 3, (63.75,) * 3, (8,), (4,)

    def __init__(self):
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.conv = nn.Conv2d(3, 8, 3, stride=4, padding=1, bias=False)
        self.encoder.bn = nn.BatchNorm2d(8, momentum=0.01)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        return [F.relu(self.encoder.bn(self.encoder.conv(image)))]


def load_by_rule(model: GrowingSegmentor, names: list[str]) -> None:
    """Fills a model with the weights of these published names by the rule."""
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    targets = {name: MAP.rename(name)[0] for name in names}
    weights = MAP.apply({name: by_rule(name, shapes[targets[name]]) for name in names})
    floats = {name for name, value in model.state_dict().items() if value.is_floating_point()}
    assert floats == {name for name in weights if not name.endswith("num_batches_tracked")}, "one to one"
    model.load_state_dict(weights, strict=False)


def tiny_net() -> GrowingSegmentor:
    """Unknown, background and three classes; dilations 1, 2, 3 and no dropout."""
    head = SSULHead((8,), 5, rates=(1, 2, 3), dropout=0.0)
    model = GrowingSegmentor(5, Tiny(), head, readout="unknown")
    load_by_rule(model, RUNS["step0/first/names"].tolist())
    return model


def assert_state(model: GrowingSegmentor, run: str, moment: str) -> None:
    state, names = model.state_dict(), RUNS[f"{run}/{moment}/names"].tolist()
    ours = [float(state[MAP.rename(name)[0]].double().abs().sum()) for name in names]
    np.testing.assert_allclose(ours, RUNS[f"{run}/{moment}/sum_abs"], rtol=1e-4, atol=1e-5)
    heads = model.head.classifier
    for number, head in enumerate((heads.unknown, heads.background, *heads.steps)):
        for name, value in (("weight_32", head[3].weight[:, :, 0, 0]), ("bias", head[3].bias)):
            wanted = torch.from_numpy(RUNS[f"{run}/{moment}/head{number}_last_{name}"])
            ours = value.detach()
            ours = ours if name == "bias" or ours.shape == wanted.shape else thinned(ours, wanted)
            torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5, msg=f"{run} {moment} head {number} {name}")


def thinned(weight: Tensor, wanted: Tensor) -> Tensor:
    """32 of the 256 channels: the first ones, or every 8th."""
    candidates = (weight[:, :32], weight[:, ::8])
    return min(candidates, key=lambda one: float((one - wanted).abs().max()))


def train(model: GrowingSegmentor, teacher: GrowingSegmentor | None, run: str, groups) -> list[Tensor]:
    """Four iterations of SSUL's trainer. Returns the labels, each the number of an output."""
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
    rates = [group["lr"] for group in optimizer.param_groups]
    step = "step0" if teacher is None else "step1"
    images, labels = (RUNS[f"batch/{step}/train/{name}"] for name in ("images_u8", "labels"))
    row, targets, losses = PseudoLabelBCE(threshold=threshold_of(run)), [], []
    for iteration in range(4):
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = max(rate * (1 - iteration / 4) ** 0.9, 1e-6)
        first = iteration % 2 * 4
        image, label = (torch.from_numpy(array[first : first + 4]) for array in (images, labels))
        label = label.long()
        if "mem8" in run:  # the loader of memory gives its first batch each time
            for own, name in ((image, "images_u8"), (label, "labels")):
                own[:2] = torch.from_numpy(RUNS[f"batch/step1/memory/{name}"][:2])
        logits = resized(model(image)["logits"], (25, 25))
        if teacher is not None:
            with torch.no_grad():
                label = row.replaced(resized(teacher(image)["logits"], (25, 25)), label)
        value = row.mean(logits, label)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
        targets.append(label)
        if iteration == 0:
            assert_state(model, run, "first")
    np.testing.assert_allclose(losses, RUNS[f"{run}/losses"], rtol=1e-5)
    assert_state(model, run, "last")
    return targets


def threshold_of(run: str) -> float:
    return float(run.partition("thresh")[2] or 0.7)


@pytest.fixture(scope="module")
def first_step() -> GrowingSegmentor:
    torch.set_num_threads(1)
    model = tiny_net().train()
    head = [p for name, p in model.named_parameters() if name.startswith("head.")]
    train(model, None, "step0", [{"params": model.backbone.parameters(), "lr": 0.001}, {"params": head, "lr": 0.01}])
    return model


@pytest.mark.parametrize("run", ["step1_mem0_thresh0.5", "step1_mem8_thresh0.5"])
def test_a_later_step_trains_the_published_heads(first_step, run):
    teacher = copy.deepcopy(first_step).eval()
    model = copy.deepcopy(first_step)
    grow(model, 2)
    init_unknown(model)
    classifier = r"head\.classifier\."
    train_only(model, (rf"{classifier}unknown", rf"{classifier}background", rf"{classifier}steps\.{{new}}\."), 1, 2)
    stay_in_evaluation(model)
    before = copy.deepcopy(model.state_dict())
    model.train()
    heads = model.head.classifier
    groups = [
        {"params": [p for p in part.parameters() if p.requires_grad], "lr": rate}
        for part, rate in ((heads.steps[1], 0.01), (heads.unknown, 0.01), (heads.background, 1e-6))
    ]
    targets = train(model, teacher, run, groups)
    published = torch.from_numpy(RUNS[f"{run}/targets"].astype(np.int64))
    assert (torch.stack(targets) == published).double().mean() >= 0.999
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert {name.split(".")[2] for name in moved} <= {"unknown", "background", "steps"}
    assert not [name for name in moved if ".steps.0." in name or "running" in name], "the old heads stay bit for bit"


def test_the_loss_is_the_published_one():
    arrays = stored("ssul_losses.npz")
    logits = torch.from_numpy(arrays["bce/a/logits"]).requires_grad_()
    value = UnknownBCE().mean(logits, torch.from_numpy(arrays["bce/a/target"].astype(np.int64)))
    assert float(value) == pytest.approx(float(arrays["bce/a/mean/value"]), rel=1e-6)
    grad = torch.autograd.grad(value, logits)[0]
    torch.testing.assert_close(grad, torch.from_numpy(arrays["bce/a/mean/grad"]), rtol=1e-6, atol=1e-9)


def test_an_image_without_labels_and_a_batch_without_new_or_pseudo_pixels_have_a_loss():
    logits, teacher = torch.zeros(1, 5, 4, 4, requires_grad=True), torch.full((1, 4, 4, 4), -9.0)
    ignored = torch.full((1, 4, 4), 255)
    value = PseudoLabelBCE()(logits, teacher, ignored)
    value.backward()
    assert float(value) == 0 and not logits.grad.any()
    assert PseudoLabelBCE()(logits, teacher, torch.zeros_like(ignored)).isfinite()


def test_labels_become_outputs():
    target = torch.tensor([[[0, 1, 3, UNKNOWN, 255]]])
    assert UnknownBCE().outputs_of(target).tolist() == [[[0, 2, 4, 0, 255]]]
    assert UnknownBCE(unknown="salient").outputs_of(target).tolist() == [[[1, 2, 4, 0, 255]]]
    teacher = torch.full((1, 4, 1, 5), -5.0)
    teacher[0, 3] = 2.0  # s = .88 for class 2
    replaced = PseudoLabelBCE()
    assert replaced.replaced(teacher, replaced.outputs_of(target)).tolist() == [[[3, 2, 4, 3, 255]]]
    assert PseudoLabelBCE(threshold=0.9).replaced(teacher, torch.tensor([[[0, 1, 2, 3, 255]]])).tolist() == [
        [[0, 1, 2, 3, 255]]
    ]


@pytest.mark.parametrize("unknown", [1, 0])
def test_the_readout_predicts_as_published(unknown):
    arrays = stored("ssul_losses.npz")
    logits = torch.from_numpy(arrays["infer/logits"])
    wanted = torch.from_numpy(arrays[f"infer/bce_loss_unknown{unknown}"].astype(np.int64))
    ours = READOUTS["unknown"](logits) if unknown else logits.sigmoid()
    assert torch.equal(ours.argmax(1), wanted)


def test_the_whole_network_is_the_published_one():
    shapes = json.loads(gzip.decompress((FOLDER / "ssul_shapes.json.gz").read_bytes()))
    cfg = dict(
        type="GrowingSegmentor",
        num_classes=17,
        backbone=dict(type="Timm", name="resnet101", output_stride=16),
        head=dict(type="SSULHead"),
        grown=(1,),
        readout="unknown",
    )
    model = build_model(cfg).eval()
    assert sum(p.numel() for p in model.parameters()) == shapes["parameters"] == 60_401_234
    assert sizes_of(model) == sizes_in(model.state_dict()) == (17, 1) and model.num_classes == 17
    names = [name for name in shapes["shapes"] if not name.endswith("num_batches_tracked")]
    load_by_rule(model, names)
    arrays = stored("ssul_forward.npz")
    with torch.no_grad():
        logits = model.outputs_of(
            model.backbone(torch.from_numpy(arrays["input"]).float()), torch.zeros(1, 3, 97, 129)
        )["logits"]
    wanted = torch.from_numpy(arrays["logits_lowres"])
    assert (logits - wanted).abs().max() < 1e-3 * wanted.std()


def test_the_head_alone_is_the_published_one():
    arrays = stored("ssul_losses.npz")
    head = SSULHead((8,), 5, rates=(1, 2, 3)).eval()
    model = GrowingSegmentor(5, Tiny(), head, grown=(2,), readout="unknown")
    load_by_rule(model, RUNS["step1_mem0_thresh0.5/first/names"].tolist())
    with torch.no_grad():
        ours = model.eval().head([torch.from_numpy(arrays["head/input"])])["logits"]
    wanted = torch.from_numpy(arrays["head/eval"])
    assert (ours - wanted).abs().max() < 1e-3 * wanted.std()
