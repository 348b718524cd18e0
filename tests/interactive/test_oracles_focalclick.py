"""FocalClick gives the published code's numbers: networks, refiner, crops, targets, the loss and whole evaluations."""

import gzip
import json
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from segkit.config import load_config
from segkit.convert.find_map import choose
from segkit.convert.keymap import load_map
from segkit.convert.official import read_official
from segkit.engine.optim import build_optimizer
from segkit.losses.weighted_focal import WeightedFocal
from segkit.models.focal_click import Focus, clicks_in_boxes
from segkit.models.layers import resize
from segkit.ops.interactive.focus import focus_box, lost_at_low_resolution
from segkit.ops.interactive.progressive_merge import merge_at
from segkit.registry import ConfigError, build_model
from segkit.runners.interactive.advance import Advance
from segkit.runners.interactive.clicker import Click, mask_iou, next_click
from segkit.runners.interactive.session import Session
from segkit.runners.scoring import config_of_set
from segkit.settings import ClickInference
from tests.interactive.doubles import Echo, drawn
from tests.oracles import weights_of

FIXTURES = Path(__file__).parents[1] / "fixtures/focalclick"
CONFIGS = Path(__file__).parents[2] / "configs"
NETWORKS = {
    "hrnet18s_s1": ("interactive/focalclick/focalclick_hrnet18s_s1_cocolvis", "focalclick"),
    "hrnet18s_s2": ("interactive/focalclick/focalclick_hrnet18s_s2_cocolvis", "focalclick"),
    "segformer_b0_s2": ("interactive/focalclick/focalclick_segformer-b0_s2_cocolvis", "focalclick_segformer"),
    "segformer_b3_s2": ("interactive/focalclick/focalclick_segformer-b3_s2_cocolvis", "focalclick_segformer"),
}
SLOW = {"hrnet18s_s2", "segformer_b3_s2"}


@lru_cache
def names() -> dict[str, dict]:
    return json.loads(gzip.decompress((FIXTURES / "names.json.gz").read_bytes()))


def bits(packed: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.unpackbits(packed)[: size[0] * size[1]].reshape(size).astype(bool)


def config_of(network: str) -> dict:
    return load_config(CONFIGS / f"{NETWORKS[network][0]}.py", ["model.backbone.pretrained=None"])


def model_of(network: str) -> torch.nn.Module:
    with torch.device("meta"):
        model = build_model(config_of(network)["model"])
    shapes, keys = names()[network]["shapes"], load_map(NETWORKS[network][1])
    kept = {name: shape for name, shape in shapes.items() if keys.rename(name)[0] is not None}
    own = {name: value.clone() for name, value in keys.apply(weights_of(kept)).items()}
    model.load_state_dict(own, strict=True, assign=True)
    mean, std = model.backbone.mean, model.backbone.std
    model.mean, model.std = torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(std).view(1, -1, 1, 1)
    return model.eval()


def inputs(size: int, points: int) -> tuple[Tensor, Tensor, Tensor]:
    """-> image float32 [2,3,size,size] in 0..1, previous [2,1,size,size], clicks [2,2 points,3]."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    waves = [
        [0.5 + 0.5 * np.sin((y * (i + 1) + x * (c + 2)) / (7.0 + 3 * c + 5 * i)) for c in range(3)] for i in range(2)
    ]
    centres = [(size * 0.4, size * (0.3 + 0.3 * i)) for i in range(2)]
    blobs = [[np.exp(-(((y - cy) / (size * 0.2)) ** 2 + ((x - cx) / (size * 0.25)) ** 2))] for cy, cx in centres]
    clicks = np.full((2, 2 * points, 3), -1.0)
    clicks[0, :2] = [[int(0.31 * size), int(0.31 * size), 0], [int(0.52 * size), int(0.47 * size), 2]]
    clicks[0, points] = [int(0.83 * size), int(0.78 * size), 1]
    clicks[1, 0] = [0, 0, 0]
    clicks[1, points : points + 2] = [[int(0.99 * size)] * 2 + [1], [int(0.5 * size), int(0.02 * size), 2]]
    return tuple(torch.from_numpy(np.asarray(values, np.float32)) for values in (waves, blobs, clicks))


def kept(x: Tensor, limit: int) -> np.ndarray:
    """The positions of the stored arrays: the least common stride with at most `limit` of them."""
    height, width = x.shape[-2:]
    step = next(s for s in range(1, height + 1) if -(-height // s) * -(-width // s) <= limit)
    return x[..., ::step, ::step].numpy()


@torch.inference_mode()
@pytest.mark.parametrize("network", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in NETWORKS])
def test_outputs_are_published(network):
    model, stored = model_of(network), np.load(FIXTURES / f"{network}.npz")
    image, previous, clicks = inputs(256, 6)
    outputs = model(image * 255, clicks, previous)
    part_clicks = inputs(256, 4)[2]
    rois = torch.from_numpy(stored["rois"])
    refined = model.refine(image.flip(2) * 255, part_clicks, outputs, rois[:, [2, 1, 4, 3]], (256, 256))
    full = resize(outputs["logits"], size=(256, 256), align_corners=True)
    embedding = outputs["embedding"]
    found = {
        "instances": full,
        "instances_refined": refined["refined"],
        "instances_coarse": refined["focused"],
        "trimap": refined["boundary"],
        "feature": embedding[:, :: embedding.shape[1] // 8],
    }
    for name, ours in found.items():
        shape = stored[name].shape
        error = np.abs(kept(ours, 100 if name == "feature" else 1100) - stored[name]).max() / stored[f"{name}_std"]
        assert ours.shape[:2] == shape[:2] and error < 1e-4, f"{name}: {error:.1e}"


@pytest.mark.parametrize("network", NETWORKS)
def test_names_parameters_and_operations_are_published(network):
    expected, cfg = names()[network], config_of(network)
    with torch.device("meta"):
        model = build_model(cfg["model"])
    keys = load_map(NETWORKS[network][1])
    shapes = {name: tuple(shape) for name, shape in expected["shapes"].items()}
    keys.check(shapes, model.state_dict())
    dropped = sum(int(np.prod(shape)) for name, shape in shapes.items() if keys.rename(name)[0] is None)
    assert sum(p.numel() for p in model.parameters()) + dropped == expected["params"]
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, 3, 256, 256, device="meta"), torch.full((1, 2, 3), -1.0, device="meta"))
    # RITM's head leaves out work whose result is equal at all positions; the oracle's figure holds it
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected["GMAC_coarse_256"], rel=0.04)


def test_the_key_map_is_found_by_itself():
    for network in ("hrnet18s_s2", "segformer_b0_s2"):
        with torch.device("meta"):
            model = build_model(config_of(network)["model"])
        source = {name: tuple(shape) for name, shape in names()[network]["shapes"].items()}
        assert choose(source, model)[0] == NETWORKS[network][1]


def official(network: str, **changes) -> dict:
    """What an official file of that network holds."""
    path = "is_segformer_model.SegFormerModel" if network.startswith("segformer") else "is_hrnet_model.HRNetModel"
    version = dict(model_version="b0") if network.startswith("segformer") else dict(width=18, ocr_width=48, small=True)
    values = dict(pipeline_version=network[-2:], use_leaky_relu=True, use_rgb_conv=False, use_disks=True, norm_radius=5)
    values |= dict(with_prev_mask=True, with_aux_output=True, backbone_lr_mult=0.1, **version) | changes
    params = {name: {"type": type(value), "value": value, "specified": True} for name, value in values.items()}
    state = weights_of(names()[network]["shapes"])
    return {"state_dict": state, "config": {"class": f"isegm.model.{path}", "params": params}}


@pytest.mark.parametrize("network", ["hrnet18s_s1", "segformer_b0_s2"])
def test_official_files_describe_themselves(network):
    content = read_official(official(network))
    section, expected = content["config"]["model"], config_of(network)["model"]
    for name in ("type", "scheme", "reduction", "radius", "as_published"):
        assert section.get(name) == expected.get(name, {"scheme": "Conv1S", "reduction": 1, "radius": 5.0}.get(name))
    with torch.device("meta"):
        model = build_model(section)
    model.load_state_dict(content["model"], strict=True, assign=True)
    assert content["source"] == NETWORKS[network][1]
    own = config_of(network)["inference"]["clicks"]
    assert content["config"]["inference"]["clicks"] == own


def test_an_unknown_pipeline_is_named():
    for changes, message in (
        (dict(pipeline_version="s3"), "config.params.pipeline_version = 's3': must be one of s1, s2"),
        (dict(width="18"), "config.params.width = '18': must be a whole number"),
        (dict(dilate=2), "config.params.dilate = 2: no such argument"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_official(official("hrnet18s_s2", **changes))


@pytest.mark.parametrize("path", sorted((CONFIGS / "interactive/focalclick").glob("*.py")), ids=lambda path: path.stem)
def test_the_published_settings(path):
    cfg, is_segformer = load_config(path), "segformer" in path.stem
    batch, rate = (28, 5e-3) if is_segformer else (32, 5e-4)
    until, clicks, focus = cfg["train"]["transforms"]
    assert (cfg["train"]["batch_size"], until["min_area"], until["keep_background"]) == (batch, 1000, 0.05)
    assert cfg["train"]["dataset"]["stuff_prob"] == 0.2 and cfg["runner"]["iterations"] == 3
    assert (until["max_share"], clicks["first_click_center"], focus["size"]) == (0.85, True, 256)
    # two of the published trainings change colors
    colors = [step["type"] for step in until["transforms"]][3:]
    has_colors = path.stem.startswith(("focalclick_hrnet32", "focalclick_segformer-b3"))
    assert colors == (["BrightnessContrast", "ChannelShift"] if has_colors else [])
    per_epoch = 30000 // batch
    assert cfg["loop"]["steps"] == 230 * per_epoch
    assert cfg["schedule"]["milestones"] == (190 * per_epoch, 210 * per_epoch)
    # S1 draws its disks before it halves them
    radius = {"s1": 3.0 if is_segformer else 2.0, "s2": 5.0}["s1" if "_s1_" in path.stem else "s2"]
    model = cfg["model"]
    assert (model.get("reduction", 1), model.get("radius", 5.0)) == (2 if "_s1_" in path.stem else 1, radius)
    weights = {row["on"]: row.get("weight", 1.0) for row in cfg["losses"]}
    extra = {} if is_segformer else {"coarse.logits": 0.4}
    assert weights == {"logits": 1.0, "refined": 1.0, "boundary": 1.0, **extra}
    with torch.device("meta"):
        network = build_model({**model, "backbone": {**model["backbone"], "pretrained": None}})
    rates = {
        id(p): group["lr"] for group in build_optimizer(cfg["optimizer"], network).param_groups for p in group["params"]
    }
    slow = 0.1 if is_segformer else 2.0
    for name, parameter in network.named_parameters():
        is_trunk = name.startswith("backbone." if is_segformer else ("backbone.", "head."))
        is_trunk |= is_segformer and name.startswith("guide.")
        assert rates[id(parameter)] == pytest.approx(rate * (slow if is_trunk else 1.0)), name


def test_the_published_test_sets():
    """Of COCO_MVal the blue channel above 128 counts; DAVIS-585 begins with nothing, or with masks that are merged."""
    cfg = load_config(CONFIGS / "interactive/focalclick/focalclick_hrnet18s_s2_cocolvis.py")
    clicks = {name: config_of_set(cfg, part)["inference"]["clicks"] for name, part in cfg["test"].items()}
    assert cfg["test"]["COCO_MVal"]["dataset"] == dict(type="COCOMVal", above=128)
    assert cfg["test"]["DAVIS585"]["dataset"] == dict(type="DAVIS585")
    assert cfg["test"]["DAVIS585_init"]["dataset"] == dict(type="DAVIS585", start="sp")
    for name, values in clicks.items():
        assert (values["threshold"], values["flip"], values["stale_roi"]) == (0.5, False, True)
        assert values.get("merge", False) is values.get("merge_rest", False) is (name == "DAVIS585_init")


def test_parts_are_published():
    cases, packed = json.loads((FIXTURES / "crops.json").read_text()), np.load(FIXTURES / "crops.npz")
    for i, case in enumerate(cases):
        new, old = (bits(packed[f"{i}_{key}"], case["hw"]) for key in ("pred", "prev"))
        for factor in (1.2, 1.4):
            box = focus_box(new, old, tuple(case["yx"]), tuple(case["roi"]), expansion=factor, as_published=True)
            assert list(box) == case[f"focus_{factor}"], (i, factor)


def test_without_the_slip_a_click_on_nothing_new_stays_near():
    old = np.zeros((100, 120), bool)
    old[20:60, 30:70] = True
    new = old.copy()
    new[70:90, 90:110] = True
    limits = (0, 100, 0, 120)
    whole = focus_box(new, old, (40, 50), limits, as_published=True)
    near = focus_box(new, old, (40, 50), limits)
    # .4 of the longer side 79 around (40, 50), 1.4 times: 15.8 * 2 + 1 = 32.6 -> 45.64, half 22.82
    assert whole == limits and near == (17, 62, 27, 72)


def test_a_click_beside_the_limits_refines_them_all():
    mask = np.zeros((50, 50), bool)
    mask[30:40, 30:40] = True
    assert focus_box(mask, mask, (2, 3), (25, 45, 26, 46)) == (25, 45, 26, 46)


def test_boundary_targets_and_moved_clicks_are_published():
    stored = np.load(FIXTURES / "targets.npz")
    for name in "1247":
        mask, boundary = (bits(stored[f"{name}/{key}"], (256, 256)) for key in ("mask256", "trimap"))
        np.testing.assert_array_equal(lost_at_low_resolution(mask), boundary)
    x0, y0, x1, y1 = stored["next/rois"][0]
    points, expected = (torch.from_numpy(stored[f"next/{key}"]) for key in ("points", "points_focus"))
    moved = clicks_in_boxes(points, torch.tensor([[y0, x0, y1, x1]]), (256, 256))
    is_empty = points[..., 0] < 0
    assert torch.allclose(moved[~is_empty], expected[~is_empty], atol=1e-4)
    assert (moved[is_empty] == -1).all() and (expected[is_empty][:, :2] < 0).all()


@pytest.mark.parametrize("name, share", [("w0.5", 0.5), ("w1", 1.0)])
def test_the_loss_is_published(name, share):
    stored = np.load(FIXTURES / "wfnl.npz")
    logits, label, weight = (torch.from_numpy(stored[key]) for key in ("logits", "label", "weight"))
    loss = WeightedFocal(share)(logits.requires_grad_(), label, weight)
    assert loss.item() == pytest.approx(float(stored[f"{name}/loss"]), rel=1e-5)
    loss.backward()
    expected = stored[f"{name}/grad"]
    assert np.abs(logits.grad.numpy() - expected).max() < 1e-5 * np.abs(expected).max()


class FocalEcho(Echo):
    """Echo with a second pass on the part: .7 of its answer there and .3 of the coarse one."""

    input_size = (256, 256)
    focus = Focus(as_published=True)

    def refine(self, image: Tensor, clicks: Tensor, outputs: dict, boxes: Tensor, size: tuple[int, int]) -> dict:
        from torchvision.ops import roi_align

        rois = torch.cat([torch.zeros(1, 1), boxes[:, [1, 0, 3, 2]]], dim=1)
        coarse = roi_align(outputs["logits"], rois, image.shape[-2:], spatial_scale=1.0, aligned=True)
        guidance = self.guidance(clicks, tuple(image.shape[-2:]), coarse.sigmoid())
        return {"refined": 0.7 * self.run(self.normalize(image), guidance)["logits"] + 0.3 * coarse}


def stub_runs() -> list:
    content = json.loads((FIXTURES / "noc_stub.json").read_text())
    runs = [(name, i) for name in ("zero", "zero_fixed256") for i in range(len(content[name]["results"]))]
    quick = {("zero", 2), ("zero", 5), ("zero_fixed256", 5)}
    return [pytest.param(*run, marks=[] if run in quick else [pytest.mark.slow]) for run in runs]


@pytest.mark.parametrize("protocol, index", stub_runs())
def test_evaluations_from_no_mask_are_published(protocol, index):
    run = json.loads((FIXTURES / "noc_stub.json").read_text())[protocol]
    result, zoom = run["results"][index], run["zoom"]
    image, target = drawn(result["image"])
    settings = ClickInference(
        zoom=dict(
            skip=zoom.get("skip_clicks", 1),
            expansion=zoom.get("expansion_ratio", 1.4),
            min_crop=10,
            recompute_iou=1.0,
            threshold=0.49,
        ),
        flip=False,
        stale_roi=True,
        threshold=run["pred_thr"],
    )
    advance, session = Advance(FocalEcho(), settings), Session(image)
    mask, free = np.zeros(target.shape, bool), np.ones(target.shape, bool)
    for click, iou, part, total in zip(result["clicks"], result["ious"], result["focus"], result["prob_sums"]):
        found = next_click(mask, target, free)
        assert [int(found.is_positive), found.y, found.x] == click[:3]
        free[found.y, found.x] = False
        session.add(found)
        advance([session])
        box = session.part
        assert [box.top, box.bottom + 1, box.left, box.right + 1] == part
        mask = (session.probabilities[0, 0] > settings.threshold).numpy()
        assert mask_iou(mask, target) == pytest.approx(iou, abs=1e-4)
        assert session.probabilities.double().sum().item() == pytest.approx(total, rel=1e-4)


def test_the_refiner_sees_all_clicks():
    """A limit holds for the coarse network alone; clicks beside the part are moved with the others."""
    image, _ = drawn(5)
    seen = []

    class Watched(FocalEcho):
        def guidance(self, clicks, size, previous=None):
            seen.append(int((clicks[..., :2].amax(-1) >= 0).sum()))
            return super().guidance(clicks, size, previous)

    settings = ClickInference(zoom=None, flip=False, clicks_limit=1)
    advance, session = Advance(Watched(), settings), Session(image)
    for click in (Click(30, 36, True), Click(25, 30, True)):
        session.add(click)
        advance([session])
    # coarse, refined, and the same of the second click
    assert seen == [1, 1, 1, 2]


@pytest.mark.parametrize("index", [pytest.param(i, marks=[pytest.mark.slow] * (i != 2)) for i in range(5)])
def test_evaluations_from_an_initial_mask_are_published(index):
    run = json.loads((FIXTURES / "noc_stub.json").read_text())["dilated"]
    result = run["results"][index]
    image, target = drawn(result["image"])
    start = cv2.dilate((target == 1).astype(np.uint8), np.ones((9, 9), np.uint8))
    start[: target.shape[0] // 6, : target.shape[1] // 5] = 1
    settings = ClickInference(
        zoom=dict(min_crop=10, recompute_iou=1.0, threshold=0.49), flip=False, stale_roi=True, threshold=run["pred_thr"]
    )
    advance, session = Advance(FocalEcho(), settings), Session(image, start=torch.from_numpy(start).float())
    mask, free = start > 0, np.ones(target.shape, bool)
    for click, iou, part in zip(result["clicks"], result["ious"], result["focus"]):
        found = next_click(mask, target, free)
        assert [int(found.is_positive), found.y, found.x] == click[:3]
        free[found.y, found.x] = False
        session.add(found)
        advance([session])
        box = session.part
        assert [box.top, box.bottom + 1, box.left, box.right + 1] == part
        new = (session.probabilities[0, 0] > settings.threshold).numpy()
        mask = merge_at(new, mask, int(found.y), int(found.x), moves_rest=True)
        session.shown = torch.from_numpy(mask)[None, None].float()
        assert mask_iou(mask, target) == pytest.approx(iou, abs=1e-4)
