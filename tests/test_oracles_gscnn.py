"""Gated-SCNN under its authors' names gives their outputs, with the edges by Canny that their code sees and without."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.archs._canny import canny
from segkit.archs.gscnn import CANNY_HIGH, CANNY_LOW, GatedConv
from segkit.convert.find_map import choose
from segkit.convert.keymap import load_map
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, resize
from tests.archs_table import build
from tests.oracles import TOLERANCE, error, fixture, reference_model, weights_of

MODELS = {"wrn38": ("gscnn_wrn38", "gscnn")}
"""Fixture -> config, key map."""

CASES = {"canny_zero": (False, False), "canny_image": (True, False), "canny_official_cast": (True, True)}
"""Case -> arguments canny and canny_of_normalized of the head."""

INNER = {
    "gate1": "head.shape.gates.0",
    "gate2": "head.shape.gates.1",
    "gate3": "head.shape.gates.2",
    "fuse": "head.shape.edge",
    "cw": "head.mix_canny",
    "bot_aspp": "head.fuse",
}
"""Published name of a module -> its path here."""


@pytest.fixture(scope="module")
def published() -> tuple[dict, dict[str, np.ndarray]]:
    return fixture("gscnn", "wrn38")


@pytest.fixture(scope="module")
def network(published) -> nn.Module:
    """With its own mean and deviation again: the reference's input is an image."""
    model = reference_model(*MODELS["wrn38"], published[0]["names"], ("num_classes=19",))
    model.mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    model.std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return model


@pytest.fixture(scope="module")
def image(published) -> Tensor:
    return torch.from_numpy(published[1]["image"]).permute(2, 0, 1).unsqueeze(0)


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_outputs_are_the_authors(case, published, network, image):
    content, stored = published
    network.head.canny, network.head.canny_of_normalized = CASES[case]
    found: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(path).register_forward_hook(lambda _, __, out, name=name: found.update({name: out}))
        for name, path in INNER.items()
    ]
    outputs = network(image)
    for hook in hooks:
        hook.remove()
    found["seg"], found["edge"] = resize(outputs["logits"], like=image), outputs["edge"].sigmoid()
    features = network.backbone(network.normalize(image))
    found |= {f"mod{i}": features[i - 1] for i in (1, 2, 3, 4, 7)}
    compared = [name for name in found if f"{case}/{name}" in stored]
    assert len(compared) == {"canny_zero": 2, "canny_image": 12, "canny_official_cast": 1}[case]
    for name in compared:
        difference = error(found[name], stored[f"{case}/{name}"], content["outputs"][f"{case}/{name}"])
        assert difference < TOLERANCE, f"{name}: {difference:.1e}"


@torch.inference_mode()
def test_edges_by_canny_are_the_authors(published, network, image):
    _, stored = published
    assert np.array_equal(canny(image, CANNY_LOW, CANNY_HIGH)[0, 0], stored["canny_of_uint8_image_10_100"])
    network.head.canny, network.head.canny_of_normalized = CASES["canny_official_cast"]
    normalized = network.normalize(image)
    found = network.head._canny_edges(normalized, image, normalized)
    assert np.array_equal(found[0, 0], stored["canny_the_official_code_sees"])


@torch.inference_mode()
def test_a_gate_alone_is_the_authors(published):
    content, stored = published
    names = {"weight": "conv.weight"} | {f"_gate_conv.{i}": f"gate.{i}" for i in (0, 1, 3, 4)}
    weights = weights_of({name: shape for name, shape in content["names"].items() if name.startswith("gate1.")})
    gate = GatedConv(32).eval()
    renamed = {}
    for name, value in weights.items():
        own = name.removeprefix("gate1.")
        key = next(key for key in names if own.startswith(key))
        renamed[own.replace(key, names[key], 1)] = value
    gate.load_state_dict(renamed, strict=True)
    x, side = (
        torch.from_numpy(np.random.RandomState(seed).standard_normal((1, channels, 12, 16)).astype(np.float32))
        for seed, channels in ((3, 32), (4, 1))
    )
    assert error(gate(x, side), stored["gate1_alone/out"], content["outputs"]["gate1_alone/out"]) < TOLERANCE


def test_names_match_one_to_one(published):
    """All but the side map of the first convolution, which the authors' code builds and never reads."""
    names = {name: tuple(shape) for name, shape in published[0]["names"].items()}
    model = build("gscnn_wrn38", 19, device="meta")
    report = load_map("gscnn").check(names, model.state_dict())
    assert f"{len(names) - 2} tensors matched, 2 dropped" in report
    assert choose(names, model)[0] == "gscnn"
    assert "set model.head.canny_of_normalized=True" in load_map("gscnn").unsaid
    wrapped = {f"module.{name}": shape for name, shape in names.items()}
    assert f"{len(names) - 2} tensors matched" in load_map("gscnn").check(wrapped, model.state_dict())


def test_multiply_additions_are_the_published(published):
    """Theirs count layers; the three gates' convolutions are no layers in their code: 32^2 + 16^2 + 8^2 per pixel."""
    model = build("gscnn_wrn38", 19, device="meta").eval().to("meta")
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 512, 1024, device="meta"))
    assert counter.get_total_flops() // 2 == published[0]["macs"] + (32**2 + 16**2 + 8**2) * 512 * 1024
