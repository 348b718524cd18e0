"""FasterSeg under its authors' names gives their outputs, sizes and latencies; its weights decode to their networks."""

import gzip
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from segkit.archs._fasterseg_decode import SearchWeights, decode
from segkit.archs._fasterseg_genotype import OPERATIONS, STRIDES, Branch, Genotype, load_genotype
from segkit.archs._fasterseg_latency import network_latency
from segkit.archs._fasterseg_mixed import Choice, MixedOperation, chosen
from segkit.archs._fasterseg_operations import Fixed, Same, Slim, make_divisible, operation
from segkit.convert.find_map import choose
from segkit.convert.keymap import load_map
from segkit.models.layers import resize
from segkit.readers.latency_table import LatencyTable
from segkit.registry import build_model
from tests.archs_table import build
from tests.oracles import TOLERANCE, error, fixture, image, reference_model, weights_of

WIDTHS = (4, 6, 8, 10, 12)
FULL = {"student": 8, "teacher": 12}
ENDS = {"21": (32, 16), "20": (32, 8)}


@cache
def published() -> tuple[dict, dict[str, np.ndarray]]:
    return fixture("refine", "fasterseg")


@cache
def table() -> LatencyTable:
    path = Path(__file__).parent / "fixtures/refine/fasterseg_latency.json.gz"
    content = json.loads(gzip.decompress(path.read_bytes()))
    return LatencyTable(content["milliseconds"], content["machine"], path.name)


@cache
def decoded(network: str) -> dict[int, Branch]:
    _, stored = published()
    prefix = "arch" if network == "student" else "teacher"

    def of(*names: str) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(stored[f"{prefix}/{name}"]) for name in names)

    weights = SearchWeights(
        of("alpha_0", "alpha_1", "alpha_2"), of("beta_1", "beta_2"), of("ratio_0", "ratio_1", "ratio_2")
    )
    return decode(weights, WIDTHS if network == "student" else (12,), skips=network == "student")


def genotype(network: str, ends: str) -> Genotype:
    return Genotype(12, FULL[network], FULL[network], tuple(decoded(network)[last] for last in ENDS[ends]))


@torch.inference_mode()
@pytest.mark.parametrize("case, size", [("A", (128, 192)), ("B", (96, 160))])
def test_outputs_are_the_authors(case, size):
    content, stored = published()
    network = reference_model("fasterseg_student", "fasterseg", content["names"], ("num_classes=19",))
    x = image("AB".index(case), size)
    found = {"out": resize(network(x)["logits"], like=x, align_corners=True), "stem": network.backbone.stem(x)}
    for name in ("out", "stem") if case == "A" else ("out",):
        key = f"student/{case}/{name}"
        assert error(found[name], stored[key], content["outputs"][key]) < TOLERANCE


def test_names_match_one_to_one():
    names = {name: tuple(shape) for name, shape in published()[0]["names"].items()}
    model = build("fasterseg_student", 19, device="meta")
    assert f"{len(names)} tensors matched, 0 dropped" in load_map("fasterseg").check(names, model.state_dict())
    assert choose(names, model)[0] == "fasterseg"


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("network", FULL)
def test_weights_decode_to_the_published_networks(network, ends):
    expected, found = published()[0]["networks"][f"{network}_{ends}"], genotype(network, ends)
    assert [list(branch.operations) for branch in found.branches] == expected["ops"]
    assert [[STRIDES.index(s) for s in branch.strides] for branch in found.branches] == expected["paths"]
    assert [list(branch.widths) for branch in found.branches] == expected["widths_twelfths"]
    assert found.groups() == expected["groups"]
    if ends == "21":
        assert load_genotype(f"fasterseg_{network}") == found


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("network", FULL)
def test_sizes_and_latencies_are_the_authors(network, ends):
    expected, found = published()[0]["networks"][f"{network}_{ends}"], genotype(network, ends)
    aux = [dict(type="FasterSegAux", stride=stride) for stride in (16, 32)]
    encoder = dict(type="FasterSegEncoder", genotype=found.content("a test"))
    with torch.device("meta"):
        model = build_model(dict(num_classes=19, backbone=encoder, head=dict(type="FasterSegHead"), aux=aux))
    count = sum(p.numel() for p in model.parameters())
    assert count == expected["params_with_aux"]
    assert count - sum(p.numel() for p in model.aux.parameters()) == expected["params_eval"]
    with FlopCounterMode(display=False) as counter:
        model.eval().to("meta")(torch.empty(1, 3, 512, 1024, device="meta"))
    assert counter.get_total_flops() // 2 == expected["conv_macs_512x1024"]
    assert network_latency(found, table(), (1024, 2048), 19) == expected["latency_ms_table_1024x2048"]


def test_channels_are_rounded_as_by_the_authors():
    assert all(make_divisible(int(n)) == found for n, found in published()[0]["make_divisible"].items())


@torch.inference_mode()
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_the_authors(name):
    """Of one width and slimmable, from the narrowest and the full map to full width, with and without a stride."""
    content, stored = published()
    cases = [key.split("/") for key in stored if key.startswith((f"plain/{name}/", f"slim/{name}/"))]
    assert len(cases) == 6
    for kind, _, stride, *widths in cases:
        layers = Slim(WIDTHS) if kind == "slim" else Fixed()
        prefix = f"{name}.{stride}." if kind == "slim" else f"plain{'2' if stride == '2' else ''}.{name}."
        module = operation(name, 24, 24 * int(stride), int(stride), layers)
        if (kind, name, stride) == ("plain", "skip", "1"):
            module = Same()
        values = weights_of({prefix + key: value.shape for key, value in module.state_dict().items()})
        module.load_state_dict({key.removeprefix(prefix): value for key, value in values.items()})
        x = torch.from_numpy(np.random.RandomState(5).standard_normal((2, 24, 16, 20)).astype(np.float32))
        before = int(widths[0].split("_")[0]) if widths else 12
        key = "/".join((kind, name, stride, *widths))
        found = module.eval()(x[:, : make_divisible(2 * before)], len(WIDTHS) - 1)
        assert error(found, stored[key], content["outputs"][key]) < TOLERANCE, key


@pytest.mark.parametrize("case", ["full", "soft"])
def test_mixed_operations_are_the_authors(case):
    content, stored = published()
    mixed = mixed_operation()
    numbers = [np.random.RandomState(91 + i).standard_normal(5).astype(np.float32) for i in range(3)]
    alphas, ratio_in, ratio_out = (torch.from_numpy(values).requires_grad_() for values in numbers)
    shape = (1, 96, 8, 12)
    x, weight = (
        torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32)) for seed in (94, 95)
    )
    before, after = Choice(4), Choice(4)
    if case == "soft":
        before, after = chosen(ratio_in.softmax(-1)), chosen(ratio_out.softmax(-1))
        assert (WIDTHS[before.width], WIDTHS[after.width]) == (6, 8)
    out = mixed(x[:, : 8 * WIDTHS[before.width]], alphas.softmax(-1), before, after)
    key = f"mixed/{case}/out"
    assert list(out.shape) == content["outputs"][key]["shape"]
    assert error(out.detach(), stored[key], content["outputs"][key]) < TOLERANCE
    latency = mixed.latency(table(), (128, 256), alphas.softmax(-1), before, after)
    assert float(latency.detach()) == pytest.approx(float(stored[f"mixed/{case}/latency_ms_128x256"]), rel=1e-6)
    (out * weight[:, : out.shape[1]]).sum().backward()
    gradients = {"alpha": alphas} | ({"ratio_in": ratio_in, "ratio_out": ratio_out} if case == "soft" else {})
    for name, tensor in gradients.items():
        expected = stored[f"mixed/{case}/grad_{name}"]
        assert np.abs(tensor.grad.numpy() - expected).max() < 1e-5 * np.abs(expected).max()


def mixed_operation() -> MixedOperation:
    """Under the authors' names, renamed by the key map of the search network."""
    own, prefix = load_map("fasterseg_search"), "cells.0.0._op."
    names = {f"{prefix}{name}": shape for name, shape in published()[0]["mixed_names"].items()}
    seeded = weights_of({name.replace(prefix, "mixed."): shape for name, shape in names.items()})
    renamed = own.apply({name: seeded[name.replace(prefix, "mixed.")] for name in names})
    mixed = MixedOperation(96, 96, 1, WIDTHS).eval()
    mixed.load_state_dict({name.removeprefix("backbone.cells.0.0.keep."): value for name, value in renamed.items()})
    return mixed
