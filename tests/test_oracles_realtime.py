"""Real-time networks under mmsegmentation's weights give its outputs; their losses give its values and gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.archs.bisenet import BiSeNet
from segkit.archs.bisenetv2 import BiSeNetV2
from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.criterion import build_criterion
from segkit.losses.boundary import BoundaryBCE
from segkit.losses.detail import Detail
from segkit.models.layers import resize
from segkit.ops.edges import label_details, label_outlines
from segkit.registry import ConfigError, build_model, without_start_weights
from tests.oracles import TOLERANCE, error, fixture, image
from tests.oracles import weights_of as older_weights_of
from tests.test_oracles_modern import CASES, compare, weights_of

CONFIGS = Path(__file__).parents[1] / "configs"
MODELS = {
    "ddrnet_23-slim": ("ddrnet_23-slim", "mmseg_ddrnet"),
    "pidnet-s": ("pidnet_s", "mmseg_pidnet"),
    "stdc1": ("stdc1", "mmseg_stdc"),
    "bisenetv1_r18-d32": ("bisenet_r18", "mmseg_bisenet"),
    "bisenetv1_r50": ("bisenet_r50", "mmseg_bisenet"),
    "bisenetv2_fcn": ("bisenetv2", "mmseg_bisenetv2"),
}
"""Fixture -> config, key map."""

DUAL = ("mmseg_ddrnet", "mmseg_pidnet")
OLDER = ("stdc1", "bisenetv1_r18-d32", "bisenetv2_fcn")
"""Of an older reference, whose slices are written and whose weights are made in another way."""


def load(model: str, names: dict, weights: dict[str, Tensor]) -> nn.Module:
    """A model of configs/_base_/models with the reference's weights, in eval."""
    config, key_map = MODELS[model]
    cfg = load_config(CONFIGS / f"_base_/models/{config}.py", ["num_classes=19"])
    cfg["model"] = without_start_weights(cfg["model"])
    with torch.device("meta"):
        net = build_model(cfg["model"])
    keys = load_map(key_map)
    keys.check({name: tuple(shape) for name, shape in names.items()}, net.state_dict())
    kept = {name: value for name, value in weights.items() if keys.rename(name)[0] is not None}
    net.load_state_dict(keys.apply(kept), strict=True, assign=True)
    return net.eval()


@torch.inference_mode()
@pytest.mark.parametrize("model", [name for name, (_, key_map) in MODELS.items() if key_map in DUAL])
def test_networks_of_two_resolutions_are_mmsegmentations(model):
    """With what training adds: auxiliary heads, and the maps that they read."""
    content, stored = fixture("modern", model)
    net = load(model, content["names"], weights_of(content["names"]))
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
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "bisenetv1_r50" else ())
        for name, (_, key_map) in MODELS.items()
        if key_map not in DUAL
    ],
)
def test_networks_with_auxiliary_heads_are_mmsegmentations(model):
    content, stored = fixture("mmseg" if model in OLDER else "modern", model)
    make = older_weights_of if model in OLDER else weights_of
    net = load(model, content["names"], make(content["names"]))
    for case in sorted({name.partition("/")[0] for name in stored}):
        x = image(*CASES["B" if case == "C" else case])
        features = net.backbone(x)
        features = features if net.neck is None else net.neck(features)
        logits = net.head(features)["logits"]
        ours = {f"auxiliary_head.{i}": next(iter(head(features).values())) for i, head in enumerate(net.aux)}
        # C is B with the corners aligned in the heads, which resize nothing but their result.
        ours |= {"decode_head": logits}
        ours["final"] = resize(logits, like=x, align_corners=net.align_corners or case == "C")
        for name in (name for name in stored if name.startswith(f"{case}/") and "backbone" not in name):
            entry = content["outputs"][name]
            entry["slice"] = entry["slice"].replace("...", ":, :")
            difference = error(ours[name.partition("/")[2]], stored[name], entry)
            assert difference < content.get("tolerance", TOLERANCE), f"{name}: {difference:.1e}"


@pytest.mark.parametrize("model", ["cgnet", "erfnet"])
def test_names_of_networks_without_a_reference_of_outputs_match_one_to_one(model):
    content, _ = fixture("mmseg", f"{model}_fcn")
    cfg = load_config(CONFIGS / f"_base_/models/{model}.py", ["num_classes=19"])
    with torch.device("meta"):
        net = build_model(cfg["model"])
    names = {name: tuple(shape) for name, shape in content["names"].items()}
    assert f"{len(names)} tensors matched, 0 dropped" in load_map(f"mmseg_{model}").check(names, net.state_dict())
    # Which no name shows.
    assert {module.eps for module in net.backbone.modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}


ADE20K = ["num_classes=150", "model.head.channels=128", "model.head.expand=4", "model.head.classifier_expand=8"]
"""The published heads of ADE20K on EfficientViT-L1 and L2, where L2 has 3 blocks."""

EFFICIENTVIT = {
    "b0_cityscapes": ("efficientvit", ["num_classes=19"]),
    "b1_ade20k": ("efficientvit_ade20k", ["num_classes=150", "model.head.classifier_expand=0"]),
    "l1_cityscapes": ("efficientvit_large", ["num_classes=19"]),
    "l2_ade20k": ("efficientvit_large_ade20k", [*ADE20K, "model.head.blocks=3"]),
}
"""Fixture -> key map, options; outputs of the authors' code, commit de7d773, under the same weights, with the epsilons
of its table of models."""


@torch.inference_mode()
@pytest.mark.parametrize("model", [*list(EFFICIENTVIT)[:3], pytest.param("l2_ade20k", marks=pytest.mark.slow)])
def test_efficientvit_is_its_authors(model):
    content, stored = fixture("efficientvit", model)
    key_map, options = EFFICIENTVIT[model]
    path = CONFIGS / f"efficientvit/efficientvit_{model[:2]}_160k_cityscapes_1024x1024.py"
    net = build_model(load_config(path, [*options, "model.backbone.pretrained=None"])["model"]).eval()
    net.load_state_dict(load_map(key_map).apply(weights_of(content["names"])), strict=True)
    logits = net.head(net.backbone(image(*CASES["A"])))["logits"]
    assert error(logits, stored["A/logits"], content["outputs"]["A/logits"]) < TOLERANCE


@pytest.mark.parametrize(("size", "parameters"), [("b1", 4_803_443), ("b2", 15_323_779), ("b3", 39_603_155)])
def test_larger_efficientvits_count_as_published(size, parameters):
    cfg = load_config(CONFIGS / f"efficientvit/efficientvit_{size}_160k_cityscapes_1024x1024.py")
    with torch.device("meta"):
        net = build_model(without_start_weights(cfg["model"]))
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize(
    ("size", "options", "millions", "gmac"),
    [
        ("l1", [], 40, 282),
        ("l2", [], 53, 396),
        ("l1", ADE20K, 40, 36),
        ("l2", [*ADE20K, "model.head.blocks=3"], 51, 45),
    ],
)
def test_efficientvits_l_count_as_published(size, options, millions, gmac):
    """Parameters in millions and multiply-additions of 1024 x 2048, or of 512 x 512 for ADE20K, as their table has."""
    cfg = load_config(CONFIGS / f"efficientvit/efficientvit_{size}_160k_cityscapes_1024x1024.py", options)
    with torch.device("meta"):
        net = build_model(without_start_weights(cfg["model"])).eval()
        x = torch.zeros(1, 3, *((512, 512) if options else (1024, 2048)))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net.head(net.backbone(x))
    assert round(sum(p.numel() for p in net.parameters()) / 1e6) == millions
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=0.01)


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


def details_by_hand(mask: np.ndarray) -> np.ndarray:
    """STDC's target pixel by pixel, from its description; labels outside the image are 0."""
    height, width = mask.shape
    padded = np.pad(mask.astype(np.int64), 1)
    target = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            total = np.float32(0)
            for step, weight in ((1, 0.6), (2, 0.3), (4, 0.1)):
                # The nearest of the coarse scale's rows and columns.
                rows, columns = -(-height // step), -(-width // step)
                cy, cx = y * rows // height * step, x * columns // width * step
                if 9 * padded[cy + 1, cx + 1] - padded[cy : cy + 3, cx : cx + 3].sum() > 0.1:
                    total += np.float32(weight)
            target[y, x] = total > np.float32(0.1)
    return target


@pytest.mark.parametrize("size", [(24, 32), (23, 29)])
def test_details_are_where_a_label_exceeds_the_mean_around_it(size):
    mask = np.random.RandomState(0).randint(0, 4, (size[0] // 4 + 1, size[1] // 4 + 1))
    mask = mask.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]]
    mask[5:9, 5:12] = 255
    ours = label_details(torch.from_numpy(mask)[None])[0].numpy()
    assert np.array_equal(ours, details_by_hand(mask)) and 0 < ours.mean() < 1


def test_the_detail_loss_is_mmsegmentations():
    """Its formulas in numpy: binary cross entropy of two outputs over all elements, and one Dice of both per image."""
    mask = torch.from_numpy(np.random.RandomState(1).randint(0, 3, (2, 6, 8)).repeat(2, 1).repeat(2, 2))
    mask[1, :3] = 255
    logits = torch.from_numpy(np.random.RandomState(2).standard_normal((2, 2, 12, 16)))
    terms = Detail(train_ignored=True)(logits, mask)
    p = 1 / (1 + np.exp(-logits.numpy()))
    detail = np.stack([details_by_hand(one) for one in mask.numpy()])
    truth = np.stack([1 - detail, detail], 1)
    cross_entropy = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()
    overlap, sizes = (p * truth).sum((1, 2, 3)), (p**2).sum((1, 2, 3)) + truth.sum((1, 2, 3))
    assert terms["cross_entropy"].item() == pytest.approx(cross_entropy)
    assert terms["dice"].item() == pytest.approx((1 - 2 * overlap / (sizes + 2e-3)).mean())
    # Without train_ignored no gradient reaches ignored pixels.
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(sum(Detail()(logits, mask).values()), logits)
    assert not gradient[1, :, :3].any() and gradient[1, :, 3:].any()


def test_edges_are_drawn_in_one_way():
    with pytest.raises(ValueError, match="width = 4 and of_labels = 2: two ways to draw edges; give one of them"):
        BoundaryBCE(of_labels=2, width=4)


def test_branches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="detail_channels end with 64, semantic_channels with 128: must be the same"):
        BiSeNetV2(detail_channels=(64, 64, 64))
    with pytest.raises(ConfigError, match=r"backbone.encoder = 'vit_.*': its last maps have strides \(16, 16, 16\)"):
        BiSeNet(encoder="vit_tiny_patch16_224")
