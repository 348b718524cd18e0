"""Auto-DeepLab gives the outputs, gradients, sizes and genotypes of NoamRosenberg/autodeeplab under equal weights."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from segkit.archs._auto_deeplab_genotype import (
    BLOCKS,
    OPERATIONS,
    decode_cell,
    decode_path,
    first_edge,
    normalized_betas,
)
from segkit.archs.auto_deeplab_search import AutoDeepLabSearch, AutoDeepLabSearchHead, MixedOperation
from segkit.convert.find_map import choose
from segkit.convert.keymap import load_map
from segkit.models.layers import resize
from segkit.models.segmentor import Segmentor
from tests.archs_table import build
from tests.oracles import TOLERANCE, error, fixture, image, reference_model, weights_of


@pytest.fixture(scope="module")
def published() -> tuple[dict, dict[str, np.ndarray]]:
    return fixture("refine", "auto_deeplab")


def held(published: tuple, name: str, ours: Tensor) -> None:
    content, stored = published
    difference = error(ours.detach(), stored[name], content["outputs"][name])
    assert difference < TOLERANCE, f"{name}: {difference:.1e}"


def drawn(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


@torch.inference_mode()
def test_the_derived_network_is_the_published_one(published):
    names = published[0]["names"]["derived_f20"]
    net = reference_model("auto_deeplab_resized", "auto_deeplab", names, ("num_classes=19",))
    x = image(0, (128, 160))
    low, deep = net.backbone(x)
    held(published, "derived/A/low", low)
    held(published, "derived/A/encoder", deep)
    held(published, "derived/A/out", resize(net(x)["logits"], like=x, align_corners=True))


@pytest.fixture(scope="module")
def supernet(published) -> Segmentor:
    """Of width 4, with the alphas and betas of the reference and the index fault of its code."""
    backbone = AutoDeepLabSearch(4, layer1_by_down=True, mean=(0.0,) * 3, std=(1.0,) * 3)
    head = AutoDeepLabSearchHead(backbone.channels, 19, align_corners=True)
    net = Segmentor(19, backbone, head, align_corners=True).eval().requires_grad_(False)
    # strict: the map of names is one to one
    weights = load_map("auto_deeplab_search").apply(weights_of(published[0]["names"]["supernet_f4"]))
    net.load_state_dict(weights, strict=True)
    backbone.alphas.copy_(drawn(81, (20, 8)))
    backbone.betas.copy_(drawn(82, (12, 4, 3)))
    return net


@pytest.mark.slow
def test_the_search_network_and_its_gradients_are_the_published_ones(published, supernet):
    content, stored = published
    for parameter in supernet.backbone.architecture():
        parameter.requires_grad_(True)
    logits = supernet(image(0, (64, 128)))["logits"]
    held(published, "supernet/out", logits)
    alphas, betas = torch.autograd.grad(
        (logits * drawn(83, tuple(logits.shape))).sum(), supernet.backbone.architecture()
    )
    for ours, name in ((alphas, "grad_alphas"), (betas, "grad_betas")):
        expected = stored[f"supernet/{name}"]
        assert np.abs(ours.numpy() - expected).max() < 1e-5 * np.abs(expected).max(), name
    zeros = {tuple(place) for place in content["betas_without_gradient"]}
    assert {tuple(place) for place in (betas == 0).nonzero().tolist()} == zeros


@torch.no_grad()
def test_one_operation_on_every_edge(published, supernet):
    """Weights of nearly one for the separable 3x3 convolution."""
    alphas = supernet.backbone.alphas
    before = alphas.clone()
    alphas.copy_(torch.where(torch.arange(8) == OPERATIONS.index("sep_conv_3x3"), 50.0, 0.0).expand(20, 8))
    try:
        held(published, "supernet_all_sep3/out", supernet(image(0, (64, 128)))["logits"])
    finally:
        alphas.copy_(before)


@torch.no_grad()
def test_the_index_fault_swaps_one_weight():
    """In the second layer at stride 8, "same" has the weight of "down"; by default it has its own."""
    torch.manual_seed(0)
    net, x = AutoDeepLabSearch(1, layers=3).eval(), image(0, (32, 64))
    net.betas.copy_(2 * drawn(82, (3, 4, 3)))
    right = net(x)
    net.layer1_by_down = True
    assert max(float((a - b).abs().max() / a.std()) for a, b in zip(right, net(x))) > 1e-3
    net.betas[1, 1, 1] = net.betas[1, 1, 2]
    equal = net(x)
    net.layer1_by_down = False
    assert all(torch.equal(a, b) for a, b in zip(equal, net(x))), "without effect where both weights are equal"


@torch.inference_mode()
def test_a_mixed_operation_alone(published):
    content, stored = published
    mixed = MixedOperation(8).eval()
    names = {f"mixed.{name}": shape for name, shape in content["names"]["mixed_op"].items()}
    weights, keys = weights_of(names), load_map("auto_deeplab_search")
    prefix = "backbone.cells.0.edges.0."
    renamed = {name.replace("mixed.", "cells.0._ops.0."): value for name, value in weights.items()}
    mixed.load_state_dict({name.removeprefix(prefix): value for name, value in keys.apply(renamed).items()})
    x, alphas = drawn(9, (2, 8, 12, 14)), drawn(84, (8,)).softmax(0)
    held(published, "mixed/out", mixed(x, alphas))
    compared = [name for name in stored if name.startswith("mixed/op/") and not name.endswith("none")]
    assert len(compared) >= 5
    for name in compared:
        held(published, name, mixed.operations[OPERATIONS.index(name.rpartition("/")[2]) - 1](x))


def test_names_match_one_to_one(published):
    names = {name: tuple(shape) for name, shape in published[0]["names"]["derived_f20"].items()}
    model = build("auto_deeplab_resized", 19, device="meta")
    assert f"{len(names)} tensors matched" in load_map("auto_deeplab").check(names, model.state_dict())
    assert choose(names, model)[0] == "auto_deeplab"


@pytest.mark.parametrize("filters", [20, 32, 48])
def test_sizes_of_the_derived_networks(published, filters):
    """The published counts hold the one convolution of F = 32 that nothing calls, which is kept and not trained."""
    for affine in (True, False):
        options = (f"model.backbone.filters={filters}", f"model.backbone.affine={affine}")
        model = build("auto_deeplab_resized", 19, options, device="meta")
        entry = published[0]["derived_params"][f"F{filters}_affine_{affine}"]
        assert sum(p.numel() for p in model.parameters()) == entry["total"]
        idle = sum(p.numel() for p in model.parameters() if not p.requires_grad)
        assert idle == (64 * 64 + 2 * 64 * affine if filters == 32 else 0)


@pytest.mark.parametrize("filters, count", [(20, 10_147_427), (32, 21_622_451), (48, 44_424_691)])
def test_sizes_of_the_papers_networks(filters, count):
    model = build("auto_deeplab", 19, (f"model.backbone.filters={filters}",), device="meta")
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.slow
def test_size_of_the_narrow_search_network(published):
    model = build("auto_deeplab_search", 19, ("model.backbone.filters=4",), device="meta")
    assert sum(p.numel() for p in model.parameters()) == published[0]["supernet_params"]["F4"]["total"]


def test_decoded_genotypes_are_the_published_ones(published):
    """Of each seed the path, and the edges of the cell in the order of the published list."""
    for name, entry in published[0]["decode"].items():
        seed = int(name)
        betas = np.random.RandomState(600 + seed).standard_normal((12, 4, 3)) * (3 if seed % 2 == 0 else 1)
        assert list(decode_path(torch.from_numpy(betas.astype(np.float32)))) == entry["path"]
        cell = decode_cell(drawn(500 + seed, (20, 8)))
        edges = [[first_edge(i) + state, OPERATIONS.index(op)] for i in range(BLOCKS) for state, op in cell[i]]
        assert edges == entry["cell"]


@pytest.mark.parametrize("seed", range(20))
def test_the_path_is_the_best_of_all(seed):
    """Of four layers, by trying every path."""
    betas = 2 * drawn(seed, (4, 4, 3))
    weights = normalized_betas(betas).numpy()
    best: tuple[float, tuple[int, ...]] = (-1.0, ())
    for path in itertools.product(range(4), repeat=4):
        steps = [level - before + 1 for before, level in itertools.pairwise((0, *path))]
        if all(0 <= step <= 2 for step in steps):
            product = np.prod([weights[i, (0, *path)[i], step] for i, step in enumerate(steps)])
            best = max(best, (float(product), path))
    assert decode_path(betas) == best[1]
