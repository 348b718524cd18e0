"""BoxTeacher against numbers of its published code: scores, assignment, losses, average, network, and a whole step."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from segkit.archs.condinst import CondInstHead
from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.criterion import build_criterion
from segkit.engine.optim import Ema
from segkit.losses.instances.box_inst import BoxInst
from segkit.losses.instances.noisy_masks import NoisyMasks
from segkit.ops.instances.dynamic_masks import dynamic_masks
from segkit.ops.instances.prompted_masks import stability
from segkit.ops.instances.pseudo_masks import certainty, mask_quality, match_objects, rescored
from segkit.ops.instances.query_results import mask_boxes
from segkit.registry import build_model
from segkit.runners.instances.box_teacher import BoxTeacher
from segkit.types import Found
from tests.oracles import threads, weights_of


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    """As the reference ran: another order of sums moves detections that lie on a threshold."""
    with threads(2):
        yield


ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests/fixtures/boxteacher"


def load(topic: str) -> dict[str, Tensor]:
    with np.load(FOLDER / f"{topic}.npz") as arrays:
        return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}


def unpacked(bits: Tensor, width: int) -> Tensor:
    return torch.from_numpy(np.unpackbits(bits.numpy(), axis=-1, count=width))


def relative(ours: Tensor, published: Tensor) -> float:
    return float((ours.detach() - published).abs().max() / published.abs().max().clamp_min(1e-12))


# detections as labels


def test_scores_and_masks_at_the_size_of_the_image():
    known = load("scores")
    head = CondInstHead((8, 8, 8), 2, strides=(8, 16, 32), channels=8, groups=0, mask_channels=8)
    meta = dict(size=(47, 60), valid=(58, 74))
    soft = head._at_original(torch.logit(known["mask_probs"][:, 0].double()).float(), (64, 80), meta)
    sure = certainty(soft)
    torch.testing.assert_close(mask_quality(known["box_scores"], sure), known["mask_score"], rtol=0, atol=1e-6)
    found = rescored(Found(known["box_scores"], torch.arange(5), soft > 0.5, known["out_boxes"]), sure)
    order = found.labels
    torch.testing.assert_close(found.scores, known["new_scores"][order], rtol=0, atol=1e-6)
    torch.testing.assert_close(found.quality, known["mask_score"][order], rtol=0, atol=1e-6)
    assert (found.scores.diff() <= 0).all()
    differs = (soft > 0.5) != unpacked(known["masks"], 60).bool()
    assert not (differs & ((soft - 0.5).abs() > 1e-5)).any()
    assert not (soft > 0.5)[3].any() and known["mask_score"][3] == 0
    # a threshold below 0 takes every pixel: the quality is the mean of the whole image
    torch.testing.assert_close(soft[0], known["float_mask_0"], rtol=0, atol=1e-5)
    everywhere = mask_quality(known["box_scores"], certainty(soft, -1.0))
    torch.testing.assert_close(everywhere, known["float_mask_score"], rtol=0, atol=1e-6)


def published_choice(scores: Tensor, predicted: Tensor, boxes: Tensor, iou: float, least: float = 0.0) -> list[int]:
    """The published rule with its fault: an object that took the first instance of the list counts as free."""
    overlaps, chosen = box_iou(predicted, boxes), [-1] * len(boxes)
    for index in scores.argsort(descending=True).tolist():
        free = [n for n in range(len(boxes)) if chosen[n] <= 0]
        if scores[index] >= least and free:
            best = max(free, key=lambda n: overlaps[index, n])
            if overlaps[index, best] >= iou:
                chosen[best] = index
    return chosen


@pytest.mark.parametrize("case", ["a", "b", "c", "strict", "trap"])
def test_assignment_without_the_published_fault(case):
    known = {
        key.removeprefix(f"{case}."): value for key, value in load("assignment").items() if key.startswith(f"{case}.")
    }
    iou, least = float(known["iou_thr"]), float(known["score_thr"])
    chosen = match_objects(known["scores"], known["pred_boxes"], known["gt_boxes"], iou=iou, score=least)
    assert chosen.tolist() == known["chosen_fixed"].tolist()
    flags = torch.where(chosen < 0, 0.0, known["mask_score"][chosen.clamp_min(0)])
    assert torch.equal(flags, known["flags_fixed"])
    # what the tests of whole steps take for the published way is the published way
    assert (
        published_choice(known["scores"], known["pred_boxes"], known["gt_boxes"], iou, least)
        == known["chosen"].tolist()
    )
    assert (known["chosen"].tolist() == known["chosen_fixed"].tolist()) == (case != "trap")


# losses


def published_inputs(topic: str) -> tuple[dict[str, Tensor], dict]:
    """The arrays, and the batch as the runner gives it."""
    known = load(topic)
    size = tuple(known["image"].shape[2:])
    image = known["image"].flip(1).clone()
    masks, meta = [], []
    for i, (height, width) in enumerate(known["valid"].tolist()):
        image[i, :, height:], image[i, :, :, width:] = 0, 0
        mask = unpacked(known[f"pseudo{i}"], width)
        masks.append(nn.functional.pad(mask, [0, size[1] - width, 0, size[0] - height]))
        meta.append(dict(size=(int(known["file_heights"][i]), 99), valid=(height, width)))
    boxes, quality = ([known[f"{name}{i}"] for i in (0, 1)] for name in ("boxes", "flags"))
    return known, dict(image=image, boxes=boxes, masks=masks, mask_quality=quality, meta=meta)


def published_logits(known: dict[str, Tensor], features: Tensor, parameters: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Masks of the chosen places in the order of the images, and their objects."""
    logits, objects, first = [], [], 0
    for i in (0, 1):
        places = (known["im_inds"] == i).nonzero()[:, 0]
        reach = 64 * 2.0 ** known["levels"][places]
        logits.append(dynamic_masks(features[i], parameters[places], known["locations"][places], reach, stride=8))
        objects.append(known["gt_inds"][places] - first)
        first += len(known[f"boxes{i}"])
    return torch.cat(logits), objects


@pytest.mark.parametrize(
    "topic, steps", [("losses", (1, 2500, 10000, 10001)), ("losses_soft", (5000,)), ("losses_nomask", (5000,))]
)
def test_losses_and_gradients(topic, steps):
    known, batch = published_inputs(topic)
    is_soft = topic.endswith("soft")
    boxes, noisy = BoxInst(), NoisyMasks(means=0.1 if is_soft else 0.0, agreement=None if is_soft else 0.5)
    features, parameters = (known[name].clone().requires_grad_() for name in ("mask_feats", "params"))
    logits, objects = published_logits(known, features, parameters)
    order = torch.cat([(known["im_inds"] == i).nonzero()[:, 0] for i in (0, 1)])
    assert relative(logits, known["mask_logits"][order, 0]) < 1e-5
    for step in steps:
        for loss in (boxes, noisy):
            loss.warm_up.calls.fill_(step - 1)
        first = boxes(logits, objects, batch["image"], batch["boxes"], batch["meta"])
        second = noisy(logits, objects, *(batch[key] for key in ("masks", "mask_quality", "boxes", "meta")))
        terms = {
            "loss_prj": first["projection"],
            "loss_pairwise": first["pairwise"],
            "loss_mask": second["mask"],
            "loss_mask_affinity": second["affinity"],
        } | ({"loss_avg": second["means"]} if is_soft else {})
        for name, value in terms.items():
            expected = known[f"step{step}.{name}"]
            assert float((value.detach() - expected).abs()) <= 1e-5 * float(expected.abs()), (name, step)
    for name, value in terms.items():
        gradients = torch.autograd.grad(value, (features, parameters), retain_graph=True)
        for gradient, norm in zip(gradients, known[f"grad_norms.{name}"].tolist()):
            assert float(gradient.norm()) == pytest.approx(norm, rel=1e-4, abs=1e-9)
        if f"grad_feats.{name}" in known:
            assert relative(gradients[0][0, :, ::2], known[f"grad_feats.{name}"]) < 1e-4
            assert relative(gradients[1][:3], known[f"grad_params.{name}"]) < 1e-4


# the average


def test_the_average_of_parameters():
    known = load("average")
    student = nn.Sequential(nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2))
    for start, steps in (("from0", (1, 2, 3, 4, 9)), ("late", (998, 999, 1000, 5000))):
        student[0].weight.data.copy_(known[f"{start}.teacher0.weight"])
        ema = Ema(student, 0.999, rise=2, buffers=False)
        mean = known[f"{start}.teacher{steps[0]}.running_mean"]
        ema.module[1].running_mean.copy_(mean)
        for step in steps:
            student[0].weight.data.copy_(known[f"{start}.student{step}.weight"])
            ema.update(student, step - 1)  # the step before
            torch.testing.assert_close(ema.module[0].weight, known[f"{start}.teacher{step}.weight"], rtol=0, atol=1e-6)
            assert torch.equal(ema.module[1].running_mean, mean)


# networks


def names(network: str) -> tuple[dict, int]:
    if network == "r101_dcn":  # the 3x3 convolutions of three stages have offsets and weights of 9 taps
        known, _ = names("r101_3x")
        for name, shape in list(known.items()):
            if re.search(r"\.res[345]\.\d+\.conv2\.weight$", name):
                offsets = {"weight": [27, *shape[1:]], "bias": [27]}
                known |= {name.replace("conv2.weight", f"conv2_offset.{part}"): size for part, size in offsets.items()}
        return known, 55_128_893
    content = json.loads(gzip.decompress((FOLDER / f"{network}.json.gz").read_bytes()))
    return content["names"], content["parameters"]


def model_of(config: str, classes: int = 80, options: tuple[str, ...] = ()) -> nn.Module:
    options = (f"num_classes={classes}", "model.backbone.pretrained=None", *options)
    with torch.device("meta"):
        return build_model(load_config(ROOT / "configs/_base_/models" / f"{config}.py", list(options))["model"])


DEFORMABLE = ("model.backbone.deformable_stages=3", "model.backbone.modulated=True")


@pytest.mark.parametrize(
    "network, config, options",
    [
        ("r101_dcn", "boxteacher_r50", ("model.backbone.name='resnet101'", *DEFORMABLE)),
        ("r50", "boxteacher_r50", ()),
        ("r101_3x", "boxteacher_r50", ("model.backbone.name='resnet101'",)),
        ("swin-base_3x", "boxteacher_swin_b", ()),
    ],
)
def test_names_match_one_to_one(network, config, options):
    known, count = names(network)
    model = model_of(config, options=options)
    both = {f"{part}.{name}": tuple(shape) for part in ("student", "teacher") for name, shape in known.items()}
    load_map("boxteacher").check(both, model.state_dict())
    frozen = sum(p.numel() for n, p in model.named_parameters() if not p.requires_grad and p.dim() == 1)
    assert sum(p.numel() for p in model.parameters()) - frozen == count


def filled(classes: int, changes: dict | None = None) -> nn.Module:
    """The R50 network with the reference's weights, in eval; changes: of published names, functions of a tensor."""
    known, _ = names("r50")
    of_classes = "proposal_generator.fcos_head.cls_logits."
    shapes = {name: [classes, *shape[1:]] if name.startswith(of_classes) else shape for name, shape in known.items()}
    weights = weights_of({name: shape for name, shape in shapes.items() if not name.startswith("mask_head.")})
    for name, change in (changes or {}).items():
        weights[name] = change(weights[name])
    model = model_of("boxteacher_r50", classes)
    means = model.backbone.mean, model.backbone.std
    model.load_state_dict(load_map("boxteacher").apply(weights), strict=True, assign=True)
    model.mean, model.std = (torch.tensor(values).view(1, 3, 1, 1) for values in means)
    return model.eval()


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return filled(80)


@pytest.mark.parametrize("topic", ["r50_forward", "r50_forward2"])
@torch.no_grad()
def test_network(network, topic):
    known = load(topic)
    image = known["image_bgr"].flip(0)[None]
    maps = network.neck(network.backbone(network.normalize(image)))
    for i, x in enumerate(maps):
        std = float(known[f"std.p{i + 3}"])
        assert (
            abs(float(x.std(correction=0)) - std) < 2e-2 * std
            and abs(float(x.mean() - known[f"mean.p{i + 3}"])) < 1e-3 * std
        )
    assert float((maps[0][0, ::32] - known["p3"]).abs().max()) < 1e-3 * float(known["std.p3"])
    assert float((maps[4][0, ::16] - known["p7"]).abs().max()) < 1e-3 * float(known["std.p7"])
    outputs = network(image)
    parts = [("mask_feats", outputs["mask_features"][0, ::3])]
    for i in range(5):
        parts += [
            (f"logits{i}", outputs["categories"][i][0, ::16]),
            (f"distances{i}", outputs["distances"][i][0]),
            (f"centerness{i}", outputs["centerness"][i][0, 0]),
            (f"controllers{i}", outputs["controllers"][i][0, ::24]),
        ]
    for name, ours in parts:
        scale = max(float(known[name].std(correction=0)), 1e-2)
        assert ours.shape == known[name].shape and float((ours - known[name]).abs().max()) < 1e-3 * scale, name
    places = network.head.places(outputs)
    size = tuple(outputs["categories"][0].shape[2:])
    index = known["places_level1"] + size[0] * size[1]
    controllers = torch.cat([x.flatten(2) for x in outputs["controllers"]], 2)[0].T
    logits = network.head._masks(outputs["mask_features"][0], controllers, places, index)
    assert float((logits - known["mask_logits"]).abs().max()) < 1e-3 * float(known["mask_logits"].std())
    height, width = image.shape[2:]
    (found,) = network.head.instances(outputs, [dict(size=(height, width), valid=(height, width))])
    assert len(found.scores) == int(known["num"])
    for k in range(len(known["det.scores"])):
        score, box, label = known["det.scores"][k], known["det.boxes"][k], known["det.classes"][k]
        same = (
            (found.labels == label) & ((found.boxes - box).abs().amax(1) < 1e-2) & ((found.scores - score).abs() < 1e-5)
        )
        assert same.any(), (k, score, box, label)
        n = int(same.nonzero()[0])
        assert abs(int(found.masks[n].sum()) - int(known["det.areas"][k])) <= 2
        assert float((found.quality[n] - known["det.mask_score"][k]).abs()) < 1e-5


# a whole step

CHANGES = {
    "proposal_generator.fcos_head.bbox_pred.bias": lambda value: value + 1.5,
    "controller.weight": lambda value: value * 0.75,
    "controller.bias": lambda value: value * 0.75,
}
TERMS = {
    "FCOS.category": "loss_fcos_cls",
    "FCOS.box": "loss_fcos_loc",
    "FCOS.centerness": "loss_fcos_ctr",
    "BoxInst.projection": "loss_prj",
    "BoxInst.pairwise": "loss_pairwise",
    "NoisyMasks.mask": "loss_mask",
    "NoisyMasks.affinity": "loss_mask_affinity",
}


def batch_of(known: dict[str, Tensor]) -> dict:
    images = [known[f"image{i}"].flip(0) for i in (0, 1)]
    size = [max(image.shape[axis] for image in images) for axis in (1, 2)]
    clean, seen, meta = torch.zeros(2, 3, *size, dtype=torch.uint8), torch.zeros(2, 3, *size), []
    for i, image in enumerate(images):
        height, width = image.shape[1:]
        clean[i, :, :height, :width] = image
        seen[i, :, :height, :width] = (0.9 * image.float() + 5).clamp(0, 255).to(torch.uint8).float()
        meta.append(dict(id=str(i), path=str(i), size=(2 * height, 2 * width), valid=(height, width)))
    boxes, labels = ([known[f"{name}{i}"] for i in (0, 1)] for name in ("boxes", "classes"))
    return dict(image=seen, clean=clean, meta=meta, boxes=boxes, labels=labels)


@pytest.mark.slow
def test_a_whole_step():
    known = load("step")
    student = filled(7, CHANGES)
    teacher = Ema(student, 0.999, rise=2, buffers=False)
    for name, parameter in teacher.module.named_parameters():
        if not (name.startswith("backbone.") and parameter.dim() == 1):  # buffers there
            parameter.mul_(1.02)
    runner = BoxTeacher(short=128, long=400)
    runner._teacher = teacher
    batch = batch_of(known)
    found = runner.found(batch["clean"], batch["meta"])
    for i, of_image in enumerate(found):
        assert len(of_image.scores) == int(known[f"teacher_count{i}"])
        for score, box in zip(known[f"teacher_scores{i}"], known[f"teacher_boxes{i}"]):
            near = ((of_image.boxes - box).abs().amax(1) < 2e-2) & ((of_image.scores - score).abs() < 1e-5)
            assert near.any(), (i, score, box)
    teacher.module.load_state_dict(with_fresh_norms(teacher.module, student))
    cfg = load_config(ROOT / "configs/_base_/models/boxteacher_r50.py", ["num_classes=7"])
    criterion = build_criterion(cfg["losses"])
    student.train()
    outputs = runner.forward(student, batch, np.random.default_rng(0))
    for i in (0, 1):
        torch.testing.assert_close(batch["mask_quality"][i], known[f"fixed.flags{i}"], rtol=0, atol=1e-5)

    def terms() -> dict[str, Tensor]:
        for loss in criterion.losses[1:]:
            loss.warm_up.calls.fill_(20000)
        return criterion(outputs, batch, 0)

    values = terms()
    assert set(values) == set(TERMS)
    for name, expected in (("NoisyMasks.mask", "fixed.loss_mask"), ("NoisyMasks.affinity", "fixed.loss_mask_affinity")):
        assert float(values[name]) == pytest.approx(float(known[expected]), rel=1e-4)
    # the published way, whose gradients are known
    for i, of_image in enumerate(found):
        order = (of_image.scores / of_image.quality.clamp_min(1e-9)).argsort(descending=True)  # by the box's score
        chosen = torch.tensor(published_choice(of_image.scores[order], of_image.boxes[order], batch["boxes"][i], 0.5))
        has = chosen >= 0
        batch["mask_quality"][i] = torch.where(has, of_image.quality[order][chosen.clamp_min(0)], 0.0)
        small = of_image.masks[order][chosen.clamp_min(0)] & has.view(-1, 1, 1)
        batch["masks"][i] = torch.zeros_like(batch["masks"][i])
        batch["masks"][i][:, : small.shape[1], : small.shape[2]] = small
        torch.testing.assert_close(batch["mask_quality"][i], known[f"flags{i}"], rtol=0, atol=1e-5)
        areas = batch["masks"][i].flatten(1).sum(1)
        assert (areas - known[f"pseudo_area{i}"]).abs().max() <= 3
    values = terms()
    for name, published in TERMS.items():
        assert float(values[name].detach()) == pytest.approx(float(known[f"loss.{published}"]), rel=1e-4), name
    sum(values.values()).backward()
    keys, parameters = load_map("boxteacher"), dict(student.named_parameters())
    checked = [key.removeprefix("gradnorm.") for key in known if key.startswith("gradnorm.")]
    assert len(checked) == 9
    for name in checked:
        gradient = parameters[keys.rename(name)[0]].grad
        assert float(gradient.norm()) == pytest.approx(float(known[f"gradnorm.{name}"]), rel=1e-3), name
        first = known[f"grad.{name}"]
        assert relative(gradient.flatten()[: len(first)], first) < 1e-2, name


def with_fresh_norms(teacher: nn.Module, student: nn.Module) -> dict[str, Tensor]:
    """The teacher's state with the running statistics of the student, as before the teacher's forward."""
    buffers = dict(student.named_buffers())
    return {name: buffers[name].clone() if name in buffers else value for name, value in teacher.state_dict().items()}


# promptable networks


def test_stability_and_tight_boxes():
    known = load("sam_quality")
    logits = known["logits"].float()
    ours = stability(logits)
    torch.testing.assert_close(ours[:-1], known["stability"][:-1], rtol=0, atol=1e-3)
    assert known["stability"][-1].isnan() and ours[-1] == 0
    boxes = mask_boxes(logits > 0)
    # theirs name the last pixel, ours its far side
    has = (logits > 0).flatten(1).any(1)
    assert torch.equal(boxes[has] - torch.tensor([0.0, 0, 1, 1]), known["boxes"][has].float())
    assert not boxes[~has].any() and not known["boxes"][~has].any()
