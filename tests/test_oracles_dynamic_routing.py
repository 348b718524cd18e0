"""Dynamic Routing under its authors' names gives their outputs, gates, counts and loss, and computes what is open."""

import copy
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.archs import _mflops
from segkit.archs._routing_cell import Cell, Node
from segkit.convert.find_map import choose
from segkit.convert.keymap import load_map
from segkit.criterion import build_criterion
from segkit.losses.budget import FLOPsBudget
from tests.archs_table import build
from tests.oracles import TOLERANCE, error, fixture, reference_model, threads

SMALL_GATE = ("num_classes=19", "model.backbone.small_gate=True")
BIASES = {"all_open": 1.5, "open": 1.5, "mixed": 0.0, "train": 0.3, "sparse": -0.12}
"""Case -> what is added to the gates' biases."""

LAST_CONV = ".cell_ops._ops.0.op.3.weight"


@pytest.fixture(scope="module")
def published() -> tuple[dict, dict[str, np.ndarray]]:
    return fixture("refine", "dynamic_routing")


@pytest.fixture(scope="module")
def plain(published) -> nn.Module:
    model = reference_model("dynamic_routing_l16", "dynamic_routing", published[0]["names"], SMALL_GATE)
    model.is_reversed = False
    return model


def of_case(plain: nn.Module, case: str) -> nn.Module:
    """The network with the gates' biases of a case."""
    model = copy.deepcopy(plain)
    with torch.no_grad():
        for cell in cells(model):
            cell.gate.score.bias += BIASES[case]
            if case == "all_open":
                cell.gate.score.weight.zero_()
    return model


def cells(model: nn.Module) -> list[Cell]:
    return [module for module in model.modules() if isinstance(module, Cell)]


def noise(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


def densely():
    """Everything is computed and multiplied by its gate, as under torch.compile and torch.export."""
    return mock.patch("torch.compiler.is_compiling", lambda: True)


@torch.inference_mode()
@pytest.mark.parametrize("case", ["all_open", "open", "mixed"])
def test_outputs_gates_and_counts_are_the_authors(case, published, plain):
    content, stored = published
    model, image = of_case(plain, case), noise(0, 1, 3, 128, 160)
    gates = {}
    hooks = [
        cell.gate.register_forward_hook(lambda _, __, out, i=i: gates.update({i: out[0].tolist()}))
        for i, cell in enumerate(cells(model))
    ]
    found = dict(zip((f"layer_{i}" for i in range(4)), model.backbone(image)))
    for hook in hooks:
        hook.remove()
    outputs = model(image)
    found["out"] = F.interpolate(outputs["logits"], scale_factor=4, mode="bilinear", align_corners=False)
    for name, value in found.items():
        difference = error(value, stored[f"{case}/{name}"], content["outputs"][f"{case}/{name}"])
        assert difference < TOLERANCE, f"{name}: {difference:.1e}"
    expected = content["gates"][case]
    names = ["backbone.init_layer", *(name for name in expected if name != "backbone.init_layer")]
    order = sorted(names[1:], key=lambda name: [int(part) for part in name.split(".")[-2:]])
    for i, name in enumerate([names[0], *order]):
        if i in gates:
            assert gates[i] == pytest.approx(expected[name], abs=2e-6), name
        else:
            assert expected[name] is None or not any(expected[name]), f"{name} was not computed"
    for name in ("real_mflops", "expected_mflops"):
        assert outputs[name].item() == pytest.approx(float(stored[f"{case}/{name}"]), rel=1e-6)


@torch.inference_mode()
def test_a_batch_is_gated_image_by_image(published, plain):
    content, _ = published
    model, images = of_case(plain, "mixed"), noise(1, 2, 3, 128, 128)
    together, alone = model(images), [model(image[None]) for image in images]
    assert torch.allclose(together["logits"], torch.cat([one["logits"] for one in alone]), atol=1e-6)
    for name, key in (("real_mflops", "real_mflops"), ("expected_mflops", "expected")):
        assert together[name].tolist() == pytest.approx(content[f"single_{key}"], rel=1e-5)
        assert together[name].mean().item() == pytest.approx(content[f"batch_{key}"], rel=1e-5)
    mixed = torch.cat([images[:1], 40 * images[1:].roll(7, -1), images[1:]])
    sparse = of_case(plain, "sparse")
    rows = sparse(mixed)
    assert len(set(rows["real_mflops"].tolist())) > 1, "the images take paths of different cost"
    for i, image in enumerate(mixed):
        one = sparse(image[None])
        assert torch.allclose(rows["logits"][i], one["logits"][0], atol=1e-5 * float(one["logits"].abs().max()))
        assert rows["real_mflops"][i].item() == pytest.approx(one["real_mflops"].item(), rel=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("case", ["open", "mixed", "sparse"])
def test_what_is_skipped_equals_what_is_multiplied_by_zero(case, plain):
    model, images = of_case(plain, case), noise(5, 2, 3, 128, 96)
    skipped = model(images)
    with densely():
        computed = model(images)
    assert torch.allclose(skipped["logits"], computed["logits"], rtol=1e-5, atol=1e-6)
    for name in ("real_mflops", "expected_mflops"):
        assert torch.allclose(skipped[name], computed[name], rtol=1e-6)


@torch.inference_mode()
def test_what_is_closed_costs_nothing(plain):
    """The multiply-additions that run are those of the open cells and paths: by hand, from the gates, cell by cell."""
    model, image = of_case(plain, "sparse"), noise(0, 1, 3, 128, 160)
    runs: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(lambda m, _, out, name=name: runs.update({name: macs(m, out)}))
        for name, module in model.backbone.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with FlopCounterMode(display=False) as counter:
        outputs = model(image)
    for hook in hooks:
        hook.remove()
    head = counter.get_total_flops() // 2 - sum(runs.values())
    with densely(), FlopCounterMode(display=False) as all_counter:
        model(image)
    assert counter.get_total_flops() < 0.4 * all_counter.get_total_flops()
    assert head == sum((32 // 2**i) * (40 // 2**i) * c * max(c // 2, 64) for i, c in enumerate((64, 128, 256, 512))) + (
        32 * 40 * 64 * 19 * 9
    )
    computed = [name for name in runs if ".convs.0" in name]
    assert 0 < len(computed) < 30
    assert outputs["real_mflops"].item() < 350


def macs(conv: nn.Conv2d, out: Tensor) -> int:
    return out.numel() * conv.weight[0].numel()


@pytest.mark.parametrize("name", ["L16", "L33"])
@pytest.mark.parametrize("small_gate", [True, False])
def test_sizes_and_counts_are_the_published(name, small_gate, published):
    """Of 1024 x 2048 pixels with all gates at tanh(1.5), as their images of noise open them."""
    expected = published[0]["networks"][name]
    options = (f"model.backbone.small_gate={small_gate}", "model.backbone.flops_size=(1024, 2048)")
    model = build(f"dynamic_routing_{name.lower()}", 19, options, device="meta").eval().to("meta")
    assert sum(p.numel() for p in model.parameters()) == expected["params"]
    assert sum(p.numel() for cell in cells(model) for p in cell.gate.parameters()) == expected["gate_params"]
    assert model.head.mflops((1024, 2048)) == pytest.approx(expected["head_mflops"])
    assert model.backbone._stem_mflops((1024, 2048)) == pytest.approx(expected["stem_mflops"])
    grid = [_mflops.divided((256, 512), 2**i) for i in range(4)]
    size = (256, 512)
    real, weighted = expected["stem_mflops"] + expected["head_mflops"], 0.0
    paths = sum(model.backbone.start.mflops(size)[2])
    for number, layer in enumerate(model.backbone.layers):
        for cell, cell_size in zip(layer, grid):
            convs, gate, ways = cell.mflops(cell_size)
            weighted += convs
            real += gate
            paths += sum(ways) if number < len(model.backbone.layers) - 1 else 0
    assert real + weighted + paths == pytest.approx(expected[f"all_open_small_gate_{small_gate}_real_mflops_1024x2048"])
    share = np.tanh(1.5)
    key = f"all_open_small_gate_{small_gate}_expected_mflops"
    assert (weighted + paths) * share == pytest.approx(expected[key], rel=1e-6)


def test_loss_and_gradients_are_the_authors(published, plain):
    content, stored = published
    model = of_case(plain, "train").train()
    labels = torch.from_numpy(stored["train/labels"]).long()
    total = float(stored["train/flops_all_used"])
    rows = [
        dict(type="CrossEntropy", target="mask"),
        dict(type="FLOPsBudget", total=total, share=0.2, weight=dict(value=0.5, after=100, warmup=40)),
    ]
    criterion = build_criterion(rows)
    images = noise(1, 2, 3, 128, 128)
    with threads(1):  # the order of sums decides: of two images' statistics the noise is 1e-3
        outputs = model(images)
    assert outputs["expected_mflops"].mean().item() == pytest.approx(
        float(stored["train/expected_mflops"]),
        rel=1e-4,  # processors differ by 2e-5
    )
    assert outputs["real_mflops"].mean().item() == pytest.approx(float(stored["train/real_mflops"]), rel=1e-5)
    batch = {"image": images, "mask": labels}
    before, rising, whole = (criterion(outputs, batch, step) for step in (99, 110, 500))
    assert before["expected_mflops.FLOPsBudget"] == 0
    known = {10: "train/budget_w0.5_mu0.2_warm0.25", 400: "train/budget_warm_over_1"}
    for terms, name in ((rising, known[10]), (whole, known[400])):
        assert terms["expected_mflops.FLOPsBudget"].item() == pytest.approx(float(stored[name]), rel=1e-4)
    budget = FLOPsBudget(total, 0.2)(torch.tensor([float(stored["train/expected_mflops"])]))
    assert 0.5 * budget.item() == pytest.approx(float(stored[known[400]]), rel=1e-6)
    assert whole["CrossEntropy"].item() == pytest.approx(float(stored["train/ce"]), rel=1e-4)
    sum(rising.values()).backward()
    # The small gates normalize two values there (one pixel of two images): what lies before the last layer changes by
    # a factor of 100 when the image changes by 1e-7, in the authors' code too, and is compared with nothing; the last
    # ones differ in single values by 1 and 12 % between processors.
    parameters, keys = dict(model.named_parameters()), load_map("dynamic_routing")
    for name, most, each in (
        ("sem_seg_head.predictor.weight", 1e-3, 2e-2),
        ("backbone.all_cell_list.15.3" + LAST_CONV, 2e-2, 0.2),
    ):
        gradient = parameters[keys.rename(name)[0]].grad
        assert gradient.double().abs().sum().item() == pytest.approx(content["gradients"][name], rel=most)
        expected = stored[f"train/grad/{name}"]
        difference = np.abs(gradient.flatten()[: len(expected)].numpy() - expected).max()
        assert difference < each * np.abs(expected).max()
    assert all(parameters[keys.rename(name)[0]].grad is not None for name in content["gradients"])


def test_gradients_of_a_cell_are_its_derivatives():
    """In float64, against finite differences: of the input, through paths and gates, also where the gate is small."""
    torch.manual_seed(0)
    for is_small in (False, True):
        cell = Cell(4, has_up=True, has_down=True, is_small=is_small, gate_bias=1.5).double().eval()
        x = torch.randn(2, 4, 4, 4, dtype=torch.float64, requires_grad=True)

        def run(x: Tensor, cell: Cell = cell) -> tuple[Tensor, ...]:
            ways = cell.where_open(Node(x, torch.ones(len(x), dtype=torch.bool)))
            return ways.keep.value, ways.up.value, ways.down.value, ways.gates

        assert all((value != 0).any() for value in run(x))
        assert torch.autograd.gradcheck(run, (x,), fast_mode=True)


def test_a_cell_by_hand():
    """Four channels of constant maps: one image opens keep and down, the next one nothing, the third gets no input."""
    cell = Cell(4, has_up=True, has_down=True, is_small=False, gate_bias=0.0).eval()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        for norm in cell.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.weight.fill_((1 + norm.eps) ** 0.5)
        cell.gate.reduce.conv.weight[0, 0] = 1.0
        cell.gate.score.weight[:, 0, 0, 0] = torch.tensor([1.0, -1.0, 2.0])
        cell.down.conv.weight[:, 1] = 3.0
    x = torch.zeros(3, 4, 2, 2)
    x[:, 1] = torch.tensor([-2.0, 5.0, 7.0])[:, None, None]
    x[0, 0], x[0, 1], x[1, 0] = 0.5, 2.0, -1.0
    ways = cell.where_open(Node(x, torch.tensor([True, True, False])))
    keep, down = np.tanh(0.5), np.tanh(1.0)
    assert torch.allclose(ways.gates, torch.tensor([[keep, 0.0, down], [0, 0, 0], [0, 0, 0]], dtype=torch.float32))
    assert torch.allclose(ways.keep.value[0, :2, 0, 0], torch.tensor([0.5 * keep, 2 * keep], dtype=torch.float32))
    assert torch.equal(ways.keep.value[1:], x[1:])  # handed on without a ReLU
    assert torch.equal(ways.up.value, torch.zeros(3, 2, 4, 4))
    assert torch.allclose(ways.down.value[0], torch.full((8, 1, 1), 6 * down, dtype=torch.float32))
    assert not ways.down.value[1:].any()
    assert ways.down.arrived.tolist() == [True, False, False] == ways.up.arrived.tolist()
    assert ways.keep.arrived.tolist() == [True, True, False]
    dense = cell.everywhere(Node(x, torch.tensor([True, True, False])))
    for ours, other in ((ways.keep, dense.keep), (ways.up, dense.up), (ways.down, dense.down)):
        assert torch.allclose(ours.value, other.value) and torch.equal(ours.arrived, other.arrived)


def test_nothing_open_at_all_gives_maps_of_zeros():
    """The authors' code cannot go on where everything that leads to a resolution is closed."""
    model = build("dynamic_routing_l16", 3, ("model.backbone.width=8", "model.backbone.layers=3")).eval()
    with torch.no_grad():
        for cell in cells(model):
            cell.gate.score.weight.zero_()
            cell.gate.score.bias.fill_(-1.0)
        outputs = model(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
        first, *others = model.backbone(torch.randn(2, 3, 64, 64))
    assert outputs["logits"].isfinite().all() and outputs["expected_mflops"].tolist() == [0, 0]
    assert first.any() and not any(feature.any() for feature in others)


def test_names_match_one_to_one(published):
    names = {name: tuple(shape) for name, shape in published[0]["names"].items()}
    model = build("dynamic_routing_l16", 19, device="meta")
    assert f"{len(names)} tensors matched, 0 dropped" in load_map("dynamic_routing").check(names, model.state_dict())
    assert choose(names, model)[0] == "dynamic_routing"
