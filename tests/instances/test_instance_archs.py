"""The contract each model of configs/_base_/models that answers with instances keeps. A new one adds its config and a
row to tests/arch_rows/instances.py."""

from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

from segkit.config import load_config
from segkit.criterion import build_criterion
from segkit.registry import build_model, without_start_weights
from tests.archs_table import MODELS, ROWS, build

NAMES = sorted(name for name, row in ROWS.items() if not row.is_map)
BEHAVIOUR = [name for name in NAMES if ROWS[name].small]
SIZE, CLASSES = (65, 97), 3
LATE = ("DiscoBox.pseudo", "DiscoBox.correspondence")
"""Terms that are 0 until projections are better."""


@pytest.fixture(scope="module", params=BEHAVIOUR)
def name(request) -> str:
    """Module scope: all tests of one model run one after the other and share what `small` builds."""
    return request.param


@lru_cache(maxsize=1)
def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build(name, CLASSES, ROWS[name].small).eval()


def images(size: tuple[int, int], batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(size[0] + batch)
    return torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator)


def flat(outputs: dict) -> dict[str, Tensor]:
    """Outputs that are lists as one entry per element."""
    tensors = {}
    for key, value in outputs.items():
        tensors |= {f"{key}.{i}": one for i, one in enumerate(value)} if isinstance(value, list) else {key: value}
    return tensors


def batch_of(objects: int) -> dict:
    """Two images of 64 x 96 of which the first has that many objects, the second none."""
    boxes = torch.tensor([[8.0, 8.0, 40.0, 56.0], [30.0, 4.0, 90.0, 60.0]])[:objects]
    masks = torch.zeros(objects, 64, 96, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist()):
        mask[y0:y1, x0:x1] = 1
    meta = [dict(size=(64, 96), valid=(64, 96))] * 2
    label_maps = torch.full((2, 64, 96), 255)
    for label, mask in zip((2, 0), masks):
        label_maps[0][mask > 0] = label
    labels = torch.tensor([2, 0])[:objects]
    return {
        "image": images((64, 96), 2),
        "boxes": [boxes, boxes[:0]],
        "labels": [labels, labels[:0]],
        "masks": [masks, masks[:0]],
        "mask": label_maps,
        "clean": images((64, 96), 2),
        "mask_quality": [torch.ones(objects), torch.ones(0)],
        "meta": meta,
    }


def losses(name: str, model: nn.Module, batch: dict) -> dict[str, Tensor]:
    """Of the config's own rows."""
    cfg = load_config(MODELS / f"{name}.py", [f"num_classes={CLASSES}"])
    outputs = model(batch["image"])
    if hasattr(model.head, "complete"):
        outputs |= model.head.complete(outputs, batch["boxes"])
    outputs |= {f"teacher.{name}": value for name, value in outputs.items()}  # before there is a teacher of its own
    return build_criterion(cfg["losses"])(outputs, batch, 10**6)


@pytest.mark.parametrize("published", NAMES)
def test_size_is_the_published_one(published):
    row = ROWS[published]
    cfg = load_config(MODELS / f"{published}.py", [f"num_classes={row.classes}"])
    with torch.device("meta"):
        model = build_model(without_start_weights(cfg["model"]))
    counts = [sum(p.numel() for p in part.parameters() if p.requires_grad) for part in (model, model.head)]
    assert counts == [row.total, row.head]


@torch.no_grad()
def test_any_size_the_same_twice_and_instances_of_the_file_size(name):
    model = small(name)
    for size, valid, original in ((SIZE, (60, 90), (33, 51)), ((128, 160), (128, 160), (200, 210))):
        image = images(size)
        outputs = model(image)
        again = flat(model(image))
        assert all(value.isfinite().all() and torch.equal(value, again[key]) for key, value in flat(outputs).items())
        (found,) = model.head.instances(outputs, [dict(size=original, valid=valid)])
        assert found.masks.shape == (len(found.scores), *original) and found.masks.dtype == torch.bool
        assert found.boxes.shape == (len(found.labels), 4) and found.labels.dtype == torch.int64
        assert (found.scores.diff() <= 0).all() and (found.labels < CLASSES).all()
        assert (found.boxes >= 0).all() and (found.boxes <= torch.tensor([*original[::-1]] * 2) + 1e-3).all()


@torch.no_grad()
def test_state_dict_round_trip(name):
    model, other = small(name), build(name, CLASSES, ROWS[name].small).eval()
    other.load_state_dict(model.state_dict(), strict=True)
    ours, theirs = flat(model(images(SIZE))), flat(other(images(SIZE)))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize("objects", [2, 0])
def test_every_trainable_parameter_gets_a_gradient_from_the_configs_losses(name, objects):
    model = build(name, CLASSES, ROWS[name].small).train()
    terms = losses(name, model, batch_of(objects))
    assert len(terms) >= 3 and all(term.shape == () and term.isfinite() for term in terms.values())
    # local consistency and level sets ask for masks, classes are learnt from empty images, too
    assert any(term > 0 for term in terms.values())
    assert not objects or all(term > 0 or name.endswith(LATE) for name, term in terms.items())
    sum(terms.values()).backward()
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert not [key for key, p in trained.items() if p.grad is None]
    assert all(p.grad.isfinite().all() for p in trained.values())


@torch.no_grad()
def test_bf16(name):
    model = small(name)
    exact = flat(model(images(SIZE)))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = flat(model(images(SIZE)))
    # behind masked attention a place more or less is seen: what comes before it is compared
    for key in {"categories.0", "kernels.0", "class_logits.0", "mask_logits.0", "controllers.0"} & exact.keys():
        error = (rounded[key].float() - exact[key]).square().mean().sqrt()
        assert error < 0.25 * exact[key].std(), key
    assert all(value.isfinite().all() for value in rounded.values())


@pytest.mark.slow
@torch.no_grad()
def test_compile(name):
    model = small(name)
    torch._dynamo.reset()
    compiled = flat(torch.compile(model, backend="aot_eager", fullgraph=True)(images(SIZE)))
    for key in {"categories.0", "kernels.0", "class_logits.0", "mask_logits.0", "controllers.0"} & compiled.keys():
        assert torch.allclose(compiled[key], flat(model(images(SIZE)))[key], atol=1e-4), key
