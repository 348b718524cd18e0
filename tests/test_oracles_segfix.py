"""SegFix against its authors' code: networks under their names, targets, loss and gradients, offsets and shift."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit.convert.find_map import choose
from segkit.convert.keymap import load_map
from segkit.data.prepare.segfix import boundary_targets
from segkit.losses.segfix import SegFixLoss
from segkit.ops.edges import DIRECTIONS, direction_classes, shifted
from segkit.refiners.segfix import predicted_offsets
from tests.archs_table import build
from tests.oracles import TOLERANCE, error, fixture, image, reference_model

NETWORKS = {"segfix_hrnet48": "segfix_hr48", "segfix_hrnet2x20": "segfix_hr2x20"}
"""Fixture -> config."""

SIZES = {"A": (0, (128, 160)), "B": (1, (97, 131))}


@pytest.fixture(scope="module", params=NETWORKS)
def published(request) -> tuple[dict, dict[str, np.ndarray], nn.Module]:
    content, stored = fixture("refine", request.param)
    model = reference_model(NETWORKS[request.param], "segfix_abn", content["names"], ("num_classes=2",))
    return content, stored, model


@torch.inference_mode()
def outputs_of(model: nn.Module, case: str) -> dict[str, Tensor]:
    """The reference's input has the network's channel order already."""
    features = model.backbone(image(*SIZES[case]))
    outputs = model.head(features)
    maps = {f"{case}/backbone.{i}": x for i, x in enumerate(features)}
    return maps | {f"{case}/mask": outputs["logits"], f"{case}/direction": outputs["direction"]}


def test_networks_are_the_authors(published):
    content, stored, model = published
    cases = {name.partition("/")[0] for name in stored}
    found = {name: value for case in sorted(cases) for name, value in outputs_of(model, case).items()}
    wanted = [name for name in stored if "inplace" not in name]
    assert len(wanted) == len(found)
    for name in wanted:
        difference = error(found[name], stored[name], content["outputs"][name])
        assert difference < TOLERANCE, f"{name}: {difference:.1e}"


def test_published_files_are_of_in_place_abn(published):
    """Scales |w| + 1e-5 and a leaky ReLU of .01 in the head: the trunk has plain ReLUs."""
    content, stored, model = published
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(module.weight.abs() + 1e-5)
    acts = {branch: branch.act for branch in (model.head.boundary, model.head.direction)}
    for branch in acts:
        branch.act = nn.LeakyReLU(0.01)
    found = outputs_of(model, "A")
    for name in ("A/mask", "A/direction"):
        entry = content["outputs"][f"{name}_inplace_abn"]
        assert error(found[name], stored[f"{name}_inplace_abn"], entry) < TOLERANCE
    for branch, act in acts.items():
        branch.act = act
    model.load_state_dict(before)


def test_key_map_of_in_place_abn_does_the_same():
    weights = {"mask_head.0.weight": torch.full((4, 3, 1, 1), -2.0), "mask_head.1.weight": torch.tensor([-2.0, 0.5])}
    weights |= {"backbone.transition1.0.1.weight": torch.tensor([-1.0]), "backbone.bn1.bias": torch.tensor([-1.0])}
    mapped = load_map("segfix").apply(weights)
    assert torch.equal(mapped["head.boundary.project.conv.weight"], weights["mask_head.0.weight"])
    assert torch.equal(mapped["head.boundary.project.bn.weight"], torch.tensor([2 + 1e-5, 0.5 + 1e-5]))
    assert torch.equal(mapped["backbone.transition1.0.1.weight"], torch.tensor([1 + 1e-5]))
    assert torch.equal(mapped["backbone.bn1.bias"], torch.tensor([-1.0]))


LARGE = ("segfix_hrnet2x20", "segfix_hrnet48")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE)) for n in NETWORKS])
def test_names_match_one_to_one(name):
    names = {key: tuple(shape) for key, shape in fixture("refine", name)[0]["names"].items()}
    model = build(NETWORKS[name], 2, ("model.head.negative_slope=0.01",), device="meta")
    assert choose(names, model)[0] == "segfix"
    # released files have no ReLU module around their normalization
    released = {key.replace("_head.1.0.", "_head.1."): shape for key, shape in names.items()}
    assert choose({f"module.{key}": shape for key, shape in released.items()}, model)[0] == "segfix"
    assert "BGR" in load_map("segfix").caution(model.to_empty(device="cpu"))


def test_targets_are_the_authors():
    _, stored = fixture("refine", "segfix_targets")
    labels = stored["camvid/labels"]
    depth, angle = boundary_targets(labels, ignore=255)
    assert np.array_equal(depth, stored["camvid/depth_uint8"])
    # where a sum of 25 terms is 0 up to rounding, the order of its terms decides
    assert (angle != stored["camvid/dir_deg_half_uint8"]).sum() <= 3e-4 * labels.size
    boundary = np.where(labels == 255, -1, depth <= 5)
    assert np.array_equal(boundary, stored["camvid/boundary"])
    degrees = torch.from_numpy(stored["camvid/dir_deg_half_uint8"].astype(np.float32)) * 2 - 180
    for number in DIRECTIONS:
        classes = np.where(labels == 255, -1, direction_classes(degrees, number))
        assert np.array_equal(classes, stored[f"camvid/direction{number}"])


def test_image_of_one_class_has_no_boundary():
    """The authors' code measures distances to a pixel that is not there."""
    _, stored = fixture("refine", "segfix_targets")
    depth, _ = boundary_targets(stored["one_class/labels"], ignore=255)
    assert (depth == 250).all() and (stored["one_class/boundary"] == 1).any()


def test_loss_and_gradients_are_the_authors():
    _, stored = fixture("refine", "segfix_loss")
    stored = {name.removeprefix("camvid/"): value for name, value in stored.items()}
    maps = [torch.from_numpy(stored[f"{name}_logits"]).requires_grad_() for name in ("mask", "direction")]
    target = torch.from_numpy(np.where(stored["labels"] == -1, 255, stored["depth"] <= 5).astype(np.int64))
    terms = SegFixLoss()(*maps, target, torch.from_numpy(stored["angle_deg"].astype(np.float32)))
    assert terms["boundary"].item() == pytest.approx(float(stored["mask_loss"]), rel=1e-5)
    assert terms["direction"].item() == pytest.approx(float(stored["direction_loss"]), rel=1e-5)
    sum(terms.values()).backward()
    for x, name in zip(maps, ("grad_mask", "grad_direction")):
        assert np.abs(x.grad.numpy() - stored[name]).max() < 1e-5 * np.abs(stored[name]).max()


def test_offsets_and_shift_are_the_authors():
    _, stored = fixture("refine", "segfix_shift")
    labels = torch.from_numpy(stored["labels"])
    boundary, direction = (torch.from_numpy(stored[f"{n}_16x24"]) for n in ("mask_prob", "direction_logits"))
    steps = predicted_offsets(boundary[:, 1], direction, labels.shape)
    assert np.array_equal(steps[0].permute(1, 2, 0), stored["offset_hw"])
    moved = shifted(labels[None, None], steps * 2)[0, 0]
    assert np.array_equal(moved, stored["nearest_gather"])
    assert np.array_equal(moved, stored["shifted_align_True"])
