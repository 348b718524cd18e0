"""Real-time networks under mmsegmentation's weights give its outputs; their losses give its values and gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.criterion import build_criterion
from segkit.losses.boundary import BoundaryBCE
from segkit.models.layers import resize
from segkit.ops.edges import label_outlines
from segkit.registry import build_model
from tests.oracles import fixture, image
from tests.test_oracles_modern import CASES, compare, weights_of

CONFIGS = Path(__file__).parents[1] / "configs"
MODELS = {"ddrnet_23-slim": ("ddrnet_23-slim", "mmseg_ddrnet"), "pidnet-s": ("pidnet_s", "mmseg_pidnet")}
"""Fixture -> config, key map."""


def load(config: str, key_map: str, names: dict, weights: dict[str, Tensor]) -> nn.Module:
    """A model of configs/_base_/models with the reference's weights, in eval."""
    cfg = load_config(CONFIGS / f"_base_/models/{config}.py", ["num_classes=19"])
    with torch.device("meta"):
        net = build_model(cfg["model"])
    keys = load_map(key_map)
    keys.check({name: tuple(shape) for name, shape in names.items()}, net.state_dict())
    net.load_state_dict(keys.apply(weights), strict=True, assign=True)
    return net.eval()


@torch.inference_mode()
@pytest.mark.parametrize("model", MODELS)
def test_networks_of_two_resolutions_are_mmsegmentations(model):
    """With what training adds: auxiliary heads, and the maps that they read."""
    content, stored = fixture("modern", model)
    net = load(*MODELS[model], content["names"], weights_of(content["names"]))
    for case in ("A", "T"):
        x = image(*CASES[case])
        features = net.backbone(x)
        logits = net.head(features)["logits"]
        aux = [next(iter(head(features).values())) for head in net.aux]
        # There the main map and its logits stand in the middle of three, here at the end of the maps.
        in_order = [0, 2, 1] if len(features) == 3 else [0, 1]
        ours = {f"backbone_train.{i}": features[index] for i, index in enumerate(in_order)}
        in_order = [aux[0], logits, *aux[1:]] if len(features) == 3 else [logits, *aux]
        ours |= {f"aux.{i}": x for i, x in enumerate(in_order)}
        final = resize(logits, like=x, align_corners=net.align_corners)
        compare({"backbone.0": features[-1], "decode_head": logits, "final": final, **ours}, case, stored, content)


@torch.inference_mode()
@pytest.mark.parametrize("config", ["ddrnet_23-slim", "pidnet_s"])
def test_sides_that_are_no_multiples_of_8_are_rounded_up(config):
    """The published code fails there: its maps have 10 x 12 and its target sizes 9 x 11 cells."""
    cfg = load_config(CONFIGS / f"_base_/models/{config}.py", ["num_classes=3", "model.backbone.channels=8"])
    net = build_model(cfg["model"]).eval()
    assert {tuple(feature.shape[2:]) for feature in net.backbone(torch.randn(1, 3, 76, 90))} == {(10, 12)}


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "fixtures/losses/realtime.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def labels(stored: dict[str, np.ndarray], name: str) -> Tensor:
    return torch.from_numpy(stored[f"in/{name}"].astype(np.int64))


@pytest.mark.parametrize("width", [3, 4])
def test_edge_targets_are_mmsegmentations(stored, width):
    edges = label_outlines(labels(stored, "edge_labels")[None], width)[0]
    assert np.array_equal(edges.numpy(), stored[f"edges/width{width}"])


@pytest.mark.parametrize("case", ["boundary_no255", "boundary_with255"])
def test_boundary_loss_is_mmsegmentations(stored, case):
    logits = torch.from_numpy(stored["in/boundary_logits"]).double().requires_grad_()
    edges = labels(stored, "edges")
    if case == "boundary_no255":
        edges = torch.where(edges == 255, 0, edges)
    value = BoundaryBCE(average="all")(logits, edges)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == pytest.approx(stored[f"{case}/value"], rel=1e-6)
    assert np.abs(gradient.numpy() - stored[f"{case}/grad"]).max() < 1e-7


HEADS = {
    "pidnet": (
        "pidnet/pidnet_s_120k_cityscapes_1024x1024",
        ("aux0.logits", "logits", "aux1.edge"),
        ("sem_p", "sem_i", "bd", "sem_bd"),
    ),
    "ddrnet": (
        "ddrnet/ddrnet_23-slim_120k_cityscapes_1024x1024",
        ("logits", "aux0.logits"),
        ("context", "spatial"),
    ),
}
"""System -> published config, outputs in the order of the reference's inputs, its names of the terms."""


@pytest.mark.parametrize("system", HEADS)
def test_losses_of_published_configs_are_mmsegmentations(stored, system):
    config, names, terms = HEADS[system]
    cfg = load_config(CONFIGS / f"{config}.py")
    criterion = build_criterion(cfg["losses"], cfg["model"].get("align_corners", False))
    outputs = {}
    for i, name in enumerate(names):
        shape = stored[f"{system}/grad/{i}"].shape
        logits = 2 * np.random.RandomState(20 + i).standard_normal(shape)
        outputs[name] = torch.from_numpy(logits.astype(np.float32)).requires_grad_()
    values = criterion(outputs, {"mask": labels(stored, "rt_labels")}, 0)
    for term, value in zip(terms, values.values(), strict=True):
        assert value.item() == pytest.approx(stored[f"{system}/loss_{term}"], rel=1e-5), term
    gradients = torch.autograd.grad(sum(values.values()), list(outputs.values()))
    for i, gradient in enumerate(gradients):
        assert np.abs(gradient.numpy() - stored[f"{system}/grad/{i}"]).max() < 1e-6, names[i]
