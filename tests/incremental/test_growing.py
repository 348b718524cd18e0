"""Classifiers grow by steps: MiB's start to the bit, old outputs unchanged, every head or a clear refusal."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segkit.config import load_config
from segkit.engine import checkpoint
from segkit.models import bases
from segkit.models.bases import Backbone
from segkit.models.growing_segmentor import (
    GrowingSegmentor,
    StepClassifier,
    add_background,
    add_classes,
    grow,
    init_balanced,
    init_random,
    sizes_in,
    sizes_of,
)
from segkit.models.segmentor import Segmentor
from segkit.registry import ConfigError, build_model
from segkit.schema import check
from tests.arch_rows.row import SIZES
from tests.archs_table import ROWS, build

STORED = np.load(Path(__file__).parents[1] / "fixtures/mib/init_classifier.npz")
CASES = {"voc15-5": (16, 5), "voc19-1": (20, 1), "voc15-1s3": (16, 1, 1, 1), "ade50s2": (51, 50, 50)}


class Encoder(Backbone):
    """[B,3,H,W] -> one map of 7 channels, stride 2."""

    channels, strides, stem_channels, stem_stride = (7,), (2,), 7, 2
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 7, 3, 2, 1)

    def forward(self, image, stem_add=None):
        return [self.conv(image)]


class Head(bases.Head):
    """One classifier, and optionally a coarse one beside it, on the last map."""

    def __init__(self, num_classes: int, *, bias: bool = True, has_coarse: bool = False, kernel: int = 1):
        super().__init__()
        self.classifier = nn.Conv2d(7, num_classes, kernel, padding=kernel // 2, bias=bias)
        self.coarse_classifier = nn.Conv2d(7, num_classes, 1) if has_coarse else None

    def forward(self, features):
        outputs = {"logits": self.classifier(features[-1]), "embedding": features[-1]}
        if self.coarse_classifier is not None:
            outputs["coarse.logits"] = self.coarse_classifier(features[-1])
        return outputs


def small(num_classes: int, *, aux: tuple = (), **options) -> Segmentor:
    torch.manual_seed(0)
    return Segmentor(num_classes, Encoder(), Head(num_classes, **options), aux=aux)


@pytest.mark.parametrize("case", CASES)
def test_balanced_start_is_the_published_one(case):
    sizes = CASES[case]
    model = small(sizes[0])
    for num_new in sizes[1:]:
        grow(model, num_new)
    weights = {
        f"head.classifier.steps.{i}.{part}": torch.from_numpy(STORED[f"{case}/before/cls.{i}.{part}"])
        for i in range(len(sizes))
        for part in ("weight", "bias")
    }
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.startswith("backbone.") for name in missing)
    init_balanced(model)
    for i in range(len(sizes)):
        for part in ("weight", "bias"):
            ours = getattr(model.head.classifier.steps[i], part).detach().numpy()
            assert np.array_equal(ours, STORED[f"{case}/after/cls.{i}.{part}"]), (i, part)


def test_the_backgrounds_probability_is_shared_evenly():
    model = small(4)
    x = torch.rand(2, 3, 8, 8)
    before = model(x)["logits"].softmax(1)
    grow(model, 3)
    init_balanced(model)
    after = model(x)["logits"].softmax(1)
    assert torch.allclose(after[:, 1:4], before[:, 1:], atol=1e-6)
    for k in (0, 4, 5, 6):
        assert torch.allclose(after[:, k], before[:, 0] / 4, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kernel": 3}])
def test_old_outputs_stay_and_steps_are_concatenated(options):
    model = small(4, **options)
    x = torch.rand(1, 3, 8, 8)
    before = model(x)["logits"]
    grow(model, 2)
    grow(model, 1)
    outputs = model(x)
    layer = model.head.classifier
    assert isinstance(layer, StepClassifier) and model.num_classes == layer.out_channels == 7 and layer.in_channels == 7
    apart = torch.cat([step(outputs["embedding"]) for step in layer.steps], dim=1)
    assert torch.allclose(outputs["logits"], apart, atol=1e-6)
    assert torch.allclose(outputs["logits"][:, :4], before, atol=1e-6)
    assert sizes_of(model) == sizes_in(model.state_dict()) == (4, 2, 1)
    outputs["logits"].sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_checkpoints_of_every_step_load_strictly(tmp_path):
    model = small(4, aux=(Head(4),))
    checkpoint.save(tmp_path / "step0.pt", {"model": model.state_dict()})
    grow(model, 2)
    init_balanced(model)
    checkpoint.save(tmp_path / "step1.pt", {"model": model.state_dict()})
    weights = checkpoint.read(tmp_path / "step0.pt")["model"]
    assert sizes_in(weights) == (4,) and sizes_in({}) == ()
    other = small(4, aux=(Head(4),))
    checkpoint.load_weights(other, weights, "step0.pt")
    grow(other, 2)
    init_balanced(other)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    again = GrowingSegmentor(4, Encoder(), Head(4), aux=(Head(4),), grown=(2,))
    weights = checkpoint.read(tmp_path / "step1.pt")["model"]
    checkpoint.load_weights(again, weights, "step1.pt")
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(again.eval()(x)["logits"], model.eval()(x)["logits"])


def test_auxiliary_and_coarse_classifiers_grow_alike():
    model = small(4, has_coarse=True, aux=(Head(4),))
    grow(model, 3)
    init_balanced(model)
    outputs = model.train()(torch.rand(1, 3, 8, 8))
    assert {name: value.shape[1] for name, value in outputs.items() if name.endswith("logits")} == {
        "logits": 7,
        "coarse.logits": 7,
        "aux0.logits": 7,
    }
    for layer in (model.head.coarse_classifier, model.aux[0].classifier):
        assert torch.equal(layer.steps[1].weight, layer.steps[0].weight[:1].expand(3, -1, -1, -1))


def test_copies_amp_and_frozen_old_steps():
    model = small(4)
    grow(model, 2)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        model.head.classifier.steps[1].weight.zero_()
    assert copied.head.classifier.steps[1].weight.abs().sum() > 0
    copied.head.classifier.steps[0].requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        logits = copied(torch.rand(1, 3, 8, 8))["logits"]
    assert logits.dtype == torch.bfloat16
    logits.float().square().sum().backward()
    assert copied.head.classifier.steps[0].weight.grad is None
    assert copied.head.classifier.steps[1].weight.grad.abs().sum() > 0


def test_random_start_is_bounded_and_seeded():
    model = small(4, kernel=3)
    grow(model, 50)
    newest = model.head.classifier.steps[1]
    init_random(model, torch.Generator().manual_seed(1))
    first = newest.weight.detach().clone()
    bound = 1 / math.sqrt(7 * 9)
    assert first.abs().max() <= bound and first.abs().max() > 0.9 * bound and first.mean().abs() < 0.1 * bound
    init_random(model, torch.Generator().manual_seed(1))
    assert torch.equal(first, newest.weight)


def test_a_background_before_classes_changes_no_prediction():
    model = small(4, aux=(Head(4),))
    x = torch.rand(2, 3, 16, 16)
    before = model(x)["logits"]
    add_background(model)
    after = model(x)["logits"]
    assert model.num_classes == 5 and model.head.classifier.out_channels == 5
    assert torch.equal(after[:, 1:], before)
    assert torch.allclose(after[:, 0], before.mean(1), atol=1e-6)
    assert torch.equal(after.argmax(1), before.argmax(1) + 1)
    with pytest.raises(ConfigError, match="has grown already"):
        grow(model, 1)
        add_background(model)


def test_classes_added_to_a_trained_model():
    model, same = small(4), small(4)
    x = torch.rand(2, 3, 16, 16)
    add_classes(model, 2)
    grow(same, 2)
    init_balanced(same)
    assert torch.equal(model(x)["logits"], same(x)["logits"])
    objects = small(4)
    old = objects(x)["logits"].argmax(1)
    add_classes(objects, 2, has_background=False)
    logits = objects(x)["logits"]
    assert logits.shape[1] == 7
    # Background and new classes share what the mean logit had: old predictions stay.
    assert torch.equal(logits.argmax(1), old + 1)


def test_heads_that_cannot_grow_say_so():
    model = small(4)
    model.head.classifier = None
    with pytest.raises(ConfigError, match=r"model.head: Head cannot grow"):
        grow(model, 1)
    model = small(4, aux=(bases.Head(),))
    with pytest.raises(ConfigError, match=r"model.aux.0: Head cannot grow"):
        grow(model, 1)
    assert isinstance(model.head.classifier, nn.Conv2d), "nothing has changed"
    with pytest.raises(ConfigError, match="nothing to learn"):
        grow(small(4), 0)
    with pytest.raises(ConfigError, match="call grow"):
        init_balanced(small(4))
    model = small(4, bias=False)
    grow(model, 1)
    with pytest.raises(ConfigError, match="no bias to balance"):
        init_balanced(model)


def test_a_config_of_a_later_step():
    path = Path(__file__).parents[2] / "configs/_base_/models/deeplabv3_r50.py"
    own = [
        "num_classes=3",
        "model.type=GrowingSegmentor",
        "model.grown=[2,1]",
        "model.backbone.name='resnet18'",
        "model.backbone.pretrained=None",
        "model.head.channels=8",
        "model.aux.0.channels=8",
    ]
    cfg = load_config(path, own)
    check(cfg)
    model = build_model(cfg["model"])
    assert model.num_classes == 6 and sizes_of(model) == (3, 2, 1)
    assert model.aux[0].classifier.sizes == (3, 2, 1)


KINDS = ["deeplabv3plus_r50", "unet_r34", "ocrnet_r50", "danet_r50", "mib_r101_os16"]


@pytest.mark.parametrize("name", KINDS)
def test_systems_grow(name):
    model = build(name, 5, ROWS[name].small).eval()
    image = torch.randint(0, 256, (1, 3, *SIZES[0]), dtype=torch.uint8)
    with torch.no_grad():
        before = model(image)["logits"]
        grow(model, 2)
        init_balanced(model)
        after = model(image)["logits"]
    assert after.shape[1] == 7
    if name != "ocrnet_r50":  # its coarse prediction guides the final one, and has more classes to tell apart now
        assert torch.allclose(after[:, 1:5], before[:, 1:], atol=1e-4)


@pytest.mark.slow
def test_heads_of_instances_refuse():
    """Models with one map of logits are grown by tests/test_archs.py."""
    for name in [name for name, row in ROWS.items() if not row.is_map]:
        model = build(name, ROWS[name].classes, ROWS[name].small, device="meta")
        with pytest.raises(ConfigError, match="cannot grow"):
            grow(model, 2)
