"""The contract each model of configs/_base_/models keeps. A new system adds its config and a row to tests/arch_rows."""

import copy
import re
from functools import lru_cache

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.models.growing_segmentor import GrowingSegmentor, grow
from segkit.registry import ConfigError
from tests.arch_rows.row import SIZES
from tests.archs_table import MODELS, ROWS, build

FILES = sorted(path.stem for path in MODELS.glob("*.py"))
NAMES = [name for name in FILES if name in ROWS and ROWS[name].is_map]


@pytest.fixture(scope="module", params=NAMES)
def name(request) -> str:
    """Module scope: all tests of one model run one after the other and share what `small` builds."""
    return request.param


@lru_cache(maxsize=1)
def small(name: str) -> nn.Module:
    """The model of a few hundred thousand parameters the behaviour tests share, with statistics of a training step."""
    torch.manual_seed(0)
    model = build(name, classes(name), ROWS[name].small)
    with torch.no_grad():
        model.train()(*inputs(name, ROWS[name].sizes[0], 2))
    return model.eval()


def classes(name: str) -> int:
    """Of the behaviour tests: five, or the single one of a model that has no more."""
    return min(ROWS[name].classes, 5)


def inputs(name: str, size: tuple[int, int], batch: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(size[0] + batch)
    image = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator)
    return ROWS[name].inputs(image)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_every_model_has_a_row():
    without, rows_alone = sorted({*FILES} - {*ROWS}), sorted({*ROWS} - {*FILES})
    assert not without and not rows_alone, f"tests/arch_rows lacks {without}; has without a config {rows_alone}"


COUNTED: set[type] = set()
"""Classes of heads whose operations this process has counted; those of every network are by a slow test."""


def test_size_is_the_published_one(name):
    row = ROWS[name]
    model = build(name, row.classes, device="meta").eval()
    assert (count(model), count(model.head)) == (row.total, row.head)
    if type(model.head) not in COUNTED:
        COUNTED.add(type(model.head))
        assert_operations(model, name)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [name for name in NAMES if ROWS[name].gmac is not None])
def test_operations_are_the_published_ones(whole):
    assert_operations(build(whole, ROWS[whole].classes, device="meta").eval(), whole)


def assert_operations(model: nn.Module, name: str) -> None:
    row = ROWS[name]
    if row.gmac is not None:
        model = model.to("meta")
        with FlopCounterMode(display=False) as counter:
            model(*row.inputs(torch.empty(1, 3, 512, 512, device="meta")))
        assert counter.get_total_flops() / 2e9 == pytest.approx(row.gmac, rel=0.01)


@torch.no_grad()
def test_any_size_one_image_the_same_twice(name):
    model = small(name)
    for size in ROWS[name].sizes:
        outputs, again = model(*inputs(name, size)), model(*inputs(name, size))
        logits = outputs["logits"]
        assert logits.shape[:2] == (1, classes(name))
        assert logits.isfinite().all()
        factors = [side / cells for side, cells in zip(size, logits.shape[2:])]
        assert factors[0] == pytest.approx(factors[1], rel=0.25), "logits keep the image's shape"
        assert all(torch.equal(outputs[key], again[key]) for key in outputs)
        assert not any(key.startswith("aux") for key in outputs), "auxiliary heads run in training alone"
        if model.head.classifier is not None:
            branch = ROWS[name].branch
            expected = model.head.classifier(outputs[f"{branch}embedding"])
            assert torch.equal(expected, outputs[f"{branch}logits"])


def firsts(names: list[str]) -> set[str]:
    """The first network of each class of heads; files without a head have that of their base."""
    found: dict[str, str] = {}
    for name in names:
        text = (MODELS / f"{name}.py").read_text(encoding="utf-8")
        if head := re.search(r'\bhead=dict\(\s*type="(\w+)"', text):
            found.setdefault(head[1], name)
    return {*found.values()}


FIRSTS = firsts(NAMES)
COMPILED = firsts([name for name in NAMES if not ROWS[name].no_compile and not ROWS[name].compiles_slowly])
"""The networks of quick tests; slow tests take every one."""


def first_of_its_head(name: str, chosen: set[str]) -> None:
    if name not in chosen:
        pytest.skip("another network with this head is tested; each network is by a slow test")


def test_state_dict_round_trip_and_one_class(name):
    first_of_its_head(name, FIRSTS)
    assert_round_trip(name)


@pytest.mark.slow
@pytest.mark.parametrize("whole", NAMES)
def test_state_dict_round_trip_and_one_class_whole(whole):
    assert_round_trip(whole)


@torch.no_grad()
def assert_round_trip(name: str) -> None:
    model, x = small(name), inputs(name, ROWS[name].sizes[0])
    other = build(name, classes(name), ROWS[name].small)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other.eval()(*x)["logits"], model(*x)["logits"])
    one = build(name, 1, ROWS[name].small).eval()
    assert one(*x)["logits"].shape[1] == 1


def test_every_trainable_parameter_gets_a_gradient(name):
    model = build(name, classes(name), ROWS[name].small).train()
    outputs = model(*inputs(name, ROWS[name].sizes[0], 2))
    # What losses read: every output but the classifier's own input.
    sum(value.float().square().mean() for key, value in outputs.items() if not key.endswith("embedding")).backward()
    without = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_bf16(name):
    first_of_its_head(name, FIRSTS)
    assert_bf16(name)


@pytest.mark.slow
@pytest.mark.parametrize("whole", NAMES)
def test_bf16_whole(whole):
    assert_bf16(whole)


@torch.no_grad()
def assert_bf16(name: str) -> None:
    model, x = small(name), inputs(name, ROWS[name].sizes[0])
    exact = model(*x)["logits"]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(*x)["logits"].float()
    # bf16 holds 8 bits: a map is kept to one or two per cent of its spread, fresh deep encoders with linear
    # bottlenecks add up to 13; what is not computed in range, or is lost, differs by more than the spread itself.
    assert (rounded - exact).square().mean().sqrt() < 0.25 * exact.std()


def head_of(name: str) -> tuple[nn.Module, tuple[object, ...]]:
    """The head of the small model, and what it is called with.

    Encoders are the same in many models, and are traced by slow tests. Where a head is called with keywords, or not
    exactly once, the whole model is given.
    """
    model, x = small(name), inputs(name, ROWS[name].sizes[0])
    calls: list[tuple[tuple, dict]] = []
    head = model.head
    with head.register_forward_pre_hook(lambda _module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True):
        model(*x)
    return (head, calls[0][0]) if len(calls) == 1 and not calls[0][1] else (model, x)


@torch.no_grad()
def test_compile(name):
    """Tracing alone shows every break of the graph; lowering the graph as well takes twice as long."""
    if ROWS[name].no_compile:
        pytest.skip(ROWS[name].no_compile)
    if ROWS[name].compiles_slowly:
        pytest.skip("its large graph is compiled by test_compile_whole, a slow test")
    first_of_its_head(name, COMPILED)
    assert_compiles(*head_of(name), "eager")


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("whole", [name for name in NAMES if not ROWS[name].no_compile])
def test_compile_whole(whole):
    assert_compiles(small(whole), inputs(whole, ROWS[whole].sizes[0]), "aot_eager")


@torch.no_grad()
@pytest.mark.parametrize("config", ["deeplabv3plus_r50", "unet_r34"])
def test_compile_and_export_whole(config):
    model, x = small(config), inputs(config, SIZES[1])
    assert_compiles(model, x, "eager")
    assert_exports(model, x)


def assert_compiles(module, x, backend):
    torch._dynamo.reset()
    compiled = torch.compile(module, backend=backend, fullgraph=True)
    assert_close(compiled(*x)["logits"], module(*x)["logits"])


def assert_exports(module, x):
    assert_close(torch.export.export(module, x).module()(*x)["logits"], module(*x)["logits"])


def assert_close(found, expected):
    """Equal but for the order of sums: fresh networks whose logits are large round in their last digits."""
    assert torch.allclose(found, expected, atol=1e-4 * max(1.0, float(expected.std())))


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("whole", [name for name in NAMES if not ROWS[name].no_export])
def test_export_whole(whole):
    assert_exports(small(whole), inputs(whole, ROWS[whole].sizes[0]))


def test_the_head_grows_or_refuses(name):
    """Grows by two classes; what refuses has a head, or an auxiliary head of edges, without an output per class."""
    model = copy.deepcopy(small(name))
    before = model.num_classes
    without = [head for head in (model.head, *model.aux) if getattr(head, "classifier", None) is None]
    if without:
        with pytest.raises(ConfigError, match="cannot grow"):
            grow(model, 2)
        return
    outputs = model.head.classifier.out_channels
    grow(model, 2)
    assert model.num_classes == before + 2 and model.head.classifier.out_channels == outputs + 2
    has_implicit = isinstance(model, GrowingSegmentor) and model.readout == "implicit"  # the background has no output
    assert outputs == before - has_implicit


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("config", ["deeplabv3plus_r50", "unet_efficientnet-lite0"])
def test_inductor(config):
    model, x = small(config), inputs(config, SIZES[1])
    torch._dynamo.reset()
    assert torch.allclose(torch.compile(model)(*x)["logits"], model(*x)["logits"], atol=1e-3)
