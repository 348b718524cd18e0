"""The runner of instances: what the model is fed, what comes out, one step of every method, resume, bad input."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segkit.api import build_runner
from segkit.config import load_config
from segkit.criterion import build_criterion
from segkit.data.instances.shapes import ShapesInstances
from segkit.engine.hooks import Checkpoint, Log
from segkit.engine.loop import Loop
from segkit.engine.optim import Ema
from segkit.models.bases import InstanceHead
from segkit.registry import ConfigError, build_model
from segkit.runners.instances.growth import write_sheet
from segkit.runners.instances.runner import BoxSupervised, as_prediction, padded_masks, with_padding, without_crowds
from segkit.runners.instances.supervision import check_supervision
from segkit.schema import check
from segkit.types import Stage
from tests.archs_table import ROWS

BOX_CONFIGS = Path(__file__).parents[2] / "configs/box_supervised"
SOLO = dict(type="SOLOv2Head", channels=16, depth=1, grids=(6, 4, 3), groups=4, level_features=2)
QUERIES = dict(
    type="Mask2FormerHead",
    channels=32,
    num_queries=5,
    encoder_layers=1,
    encoder_inner=16,
    layers=1,
    inner=16,
    heads=2,
    level_features=1,
)
CONDINST = dict(
    type="CondInstHead", channels=16, depth=1, groups=4, mask_channels=8, mask_depth=1, mask_features=4, inner=4
)
TARGETS = ["boxes", "labels", "masks"]
LEVELS = dict(ranges=((1, 40), (30, 60), (50, 200)), strides=(2, 4, 4))
FCOS = dict(
    type="FCOS",
    on=["categories", "distances", "centerness"],
    target=["boxes", "labels"],
    at="native",
    strides=(4, 8, 16),
)
METHODS = {
    "BoxLevelSet": (
        SOLO,
        [
            dict(
                type="BoxLevelSet",
                target=TARGETS,
                at="native",
                **LEVELS,
                on=["categories", "kernels", "mask_features", "level_features", "image"],
            )
        ],
    ),
    "Box2Mask": (
        QUERIES,
        [
            dict(
                type="Box2Mask",
                target=TARGETS,
                at="native",
                side=16,
                on=["class_logits", "mask_logits", "level_features", "image"],
            )
        ],
    ),
    "DiscoBox": (
        {**SOLO, "level_features": 0},
        [
            dict(
                type="DiscoBox",
                target=TARGETS,
                at="native",
                **LEVELS,
                on=["categories", "kernels", "mask_features", "teacher.kernels", "teacher.mask_features", "image"],
            )
        ],
    ),
    "BoxInst": (
        CONDINST,
        [
            FCOS,
            dict(
                type="BoxInst", on=["mask_logits", "objects"], target=["image", "boxes", "meta"], at="native", stride=2
            ),
        ],
    ),
    "SOLOv2Masks": (
        {**SOLO, "level_features": 0},
        [
            dict(
                type="SOLOv2Masks",
                on=["categories", "kernels", "mask_features", "image"],
                target=TARGETS,
                at="native",
                **LEVELS,
            )
        ],
    ),
    "Mask2FormerMasks": (
        {**QUERIES, "level_features": 0},
        [
            dict(
                type="Mask2FormerMasks",
                on=["class_logits", "mask_logits"],
                target=["labels", "masks"],
                at="native",
                points=40,
            )
        ],
    ),
    "CondInstMasks": (
        CONDINST,
        [FCOS, dict(type="CondInstMasks", on=["mask_logits", "objects"], target="masks", at="native", stride=2)],
    ),
}


def sections(method: str, **loop) -> dict:
    """A run of seconds on images of 64 x 64."""
    head, losses = METHODS[method]
    runner = dict(type="BoxSupervised", divisor=16, growth=0)
    model = dict(num_classes=5, backbone=dict(type="PlainEncoder", channels=(8, 8, 16, 16)), head=head)
    if head["type"] != "Mask2FormerHead":
        model["neck"] = dict(type="FPN", channels=16, num_levels=3)
    if method == "DiscoBox":
        runner |= dict(teacher_decay=0.9, teacher_start=1)
    data = dict(type="ShapesInstances", size=(64, 64), boxes_only=not method.endswith("Masks"))
    cfg = dict(
        model=model,
        losses=losses,
        runner=runner,
        train=dict(
            batch_size=2, workers=0, dataset=dict(**data, split="train", length=4), transforms=[dict(type="BoxMasks")]
        ),
        val=dict(batch_size=2, workers=0, dataset=dict(**data, split="val", length=3)),
        metrics=[dict(type="CocoAP"), dict(type="MatchedMaskIoU")],
        optimizer=dict(type="AdamW", lr=2e-3),
        schedule=dict(type="Constant"),
        loop=dict(steps=4, save_every=2, monitor="segm.AP", **loop),
    )
    check(cfg)
    return cfg


def loop_of(cfg: dict, folder, hooks: tuple = ()) -> Loop:
    return Loop(cfg, build_runner(cfg), work_dir=folder, device=torch.device("cpu"), hooks=hooks)


def empty_batch(size: tuple[int, int] = (64, 64)) -> dict:
    """Two images without an object, the second smaller."""
    meta = [dict(id="a", path="a", size=size, valid=size), dict(id="b", path="b", size=(40, 50), valid=(40, 50))]
    return dict(
        image=torch.full((2, 3, *size), 90, dtype=torch.uint8),
        meta=meta,
        boxes=[torch.zeros(0, 4)] * 2,
        labels=[torch.zeros(0, dtype=torch.int64)] * 2,
        crowd=[torch.zeros(0, dtype=torch.bool)] * 2,
        masks=[torch.zeros(0, *one["valid"], dtype=torch.uint8) for one in meta],
    )


def batches(loop: Loop) -> list[dict]:
    from segkit.data.loader import collate_train

    return [collate_train([loop.items[i, i], loop.items[i + 1, i + 1]]) for i in (0, 2)]


@pytest.mark.parametrize("method", METHODS)
def test_losses_fall_and_empty_images_teach_only_classes(method, tmp_path):
    loop = loop_of(sections(method), tmp_path)
    loop.model.train()
    one, _ = batches(loop)
    assert ("masks" in loop.dataset.sample(0)) == method.endswith("Masks")
    first, *_, last = (float(sum(loop.train_step([dict(one)]).values())) for _ in range(8))
    assert last < first
    nothing = empty_batch()
    mixed = {"image": one["image"]} | {
        key: [value[0], nothing[key][0]] for key, value in one.items() if isinstance(value, list)
    }
    for batch in (mixed, nothing):
        terms = loop.train_step([batch])
        assert all(torch.isfinite(value) for value in terms.values()), terms
    assert all((float(value) > 0) == name.endswith("category") for name, value in terms.items()), terms
    assert all(p.grad is not None for p in loop.raw_model.parameters() if p.requires_grad)


@pytest.mark.parametrize("method", ["BoxLevelSet", "Box2Mask", "BoxInst", "Mask2FormerMasks"])
def test_bf16(method, tmp_path):
    loop = loop_of(sections(method, amp="bf16"), tmp_path)
    loop.model.train()
    terms = loop.train_step([dict(batches(loop)[0])])
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in terms.values())


@pytest.mark.parametrize("method", ["BoxLevelSet", "Mask2FormerMasks", "DiscoBox"])
def test_a_resumed_run_ends_with_the_same_weights(method, tmp_path):
    whole = loop_of(sections(method), tmp_path / "whole")
    whole.cfg["loop"]["eval_every"] = 0
    whole.val = None
    whole.fit()
    half = loop_of(sections(method), tmp_path / "half", hooks=(Checkpoint(),))
    half.val, half.total_steps = None, 2
    half.fit()
    again = loop_of(sections(method), tmp_path / "half")
    again.val = None
    from segkit.engine import checkpoint

    again.load_state_dict(checkpoint.read(tmp_path / "half" / "last.pt"), "last.pt")
    assert again.step == 2
    again.fit()
    ours, theirs = again.raw_model.state_dict(), whole.raw_model.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize("method", ["BoxLevelSet", "Box2Mask", "BoxInst"])
def test_evaluation_gives_sections_of_scores_and_alone_or_together_the_same(method, tmp_path):
    loop = loop_of(sections(method), tmp_path, hooks=(Log(tensorboard=False),))
    scores = loop.evaluate()
    assert {"segm", "matched", "images"} <= scores.keys() and "AP50" in scores["segm"]
    record = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert "segm.AP" in record["val"]
    model, runner = loop.raw_model.eval(), loop.runner
    image = torch.randint(0, 256, (2, 3, 64, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    metas = [dict(id=str(i), size=(30, 20), valid=valid) for i, valid in enumerate(((64, 48), (50, 40)))]
    with torch.no_grad():
        both = runner.predict(model, dict(image=image, meta=metas))
        alone = runner.predict(model, dict(image=image[1:, :, :50, :40], meta=metas[1:]))
    assert len(both) == 2 and torch.equal(both[1]["scores"], alone[0]["scores"])
    for one in both:
        assert len(one["masks"]) == len(one["scores"]) == len(one["labels"]) == len(one["boxes"])
        assert all(tuple(mask["size"]) == (30, 20) for mask in one["masks"])


def test_padding_has_the_color_asked_for_and_losses_see_black():
    seen = {}

    class Network(torch.nn.Module):
        mean = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1)
        head = InstanceHead()

        def forward(self, image):
            seen["image"] = image
            return {}

    batch = empty_batch((60, 50))
    batch["masks"][0] = torch.ones(1, 60, 50, dtype=torch.uint8)
    batch["boxes"][0], batch["labels"][0] = torch.tensor([[0.0, 0, 50, 60]]), torch.tensor([0])
    batch["crowd"][0] = torch.tensor([False])
    for padding, wanted in ((None, [10, 20, 30]), (128, [128] * 3), ((1, 2, 3), [1, 2, 3])):
        given = dict(batch)
        BoxSupervised(padding=padding).forward(Network(), given, np.random.default_rng(0))
        assert given["image"].shape == (2, 3, 64, 64) and given["masks"][0].shape == (1, 64, 64)
        assert int(given["masks"][0].sum()) == 60 * 50 and given["masks"][1].shape == (0, 64, 64)
        assert seen["image"][1, :, 39, 49].tolist() == [90] * 3
        assert seen["image"][1, :, 40, 0].tolist() == seen["image"][0, :, 0, 63].tolist() == wanted
        assert given["image"][1, :, 40:].sum() == 0 == given["image"][0, :, :, 50:].sum()
    image = torch.zeros(1, 3, 32, 64, dtype=torch.uint8)
    same, valid = with_padding(image, [(32, 64)], 32)
    assert same is image and valid is None


def test_crowds_are_left_out():
    batch = dict(
        crowd=[torch.tensor([False, True, False])],
        boxes=[torch.arange(12.0).view(3, 4)],
        labels=[torch.tensor([4, 5, 6])],
        masks=[["a", "b", "c"]],
    )
    left = without_crowds(batch)
    assert left["labels"][0].tolist() == [4, 6] and left["masks"] == [["a", "c"]]
    assert left["boxes"][0][1].tolist() == [8, 9, 10, 11] and without_crowds(dict(boxes=[])) == {}


def test_masks_as_run_lengths_and_predictions_round_trip():
    from pycocotools import mask as coco_mask

    from segkit.types import Found

    masks = torch.rand(3, 7, 5, generator=torch.Generator().manual_seed(1)) > 0.5
    found = Found(torch.tensor([0.9, 0.5, 0.1]), torch.tensor([0, 1, 0]), masks, torch.zeros(3, 4))
    prediction = as_prediction(found)
    for code, mask in zip(prediction["masks"], masks):
        assert np.array_equal(coco_mask.decode(code), mask.numpy())
    padded = padded_masks(prediction["masks"], (7, 5), torch.zeros(1, 3, 8, 8))
    assert torch.equal(padded[:, :7, :5].bool(), masks) and not padded[:, 7:].any() and not padded[..., 5:].any()
    assert as_prediction(Found(*(part[:0] for part in found[:4])))["masks"] == []


def test_growth_is_drawn_at_tenths_and_goes_on_after_a_break(tmp_path):
    cfg = sections("BoxLevelSet")
    cfg["runner"]["growth"] = 2
    loop = loop_of(cfg, tmp_path, hooks=build_runner(cfg).hooks())
    loop.val = None
    loop.fit()
    files = sorted(file.name for file in (tmp_path / "pictures" / "growth").iterdir())
    assert files == [f"step_{step:07d}.png" for step in (1, 2, 3, 4)]
    before = (tmp_path / "growth.png").read_bytes()
    assert write_sheet(tmp_path).read_bytes() == before


def test_errors_say_what_to_change(tmp_path):
    loop = loop_of(sections("BoxLevelSet"), tmp_path)
    with pytest.raises(ConfigError, match="holds no boxes"):
        loop.runner.forward(loop.model, dict(image=torch.zeros(1, 3, 32, 32), meta=[dict(valid=(32, 32))]), None)
    for own in (dict(divisor=0), dict(padding=300), dict(padding=(1, -2, 3))):
        with pytest.raises(ConfigError, match="runner"):
            BoxSupervised(**own)
    loop.runner.inference.mode = "slide"
    with pytest.raises(ConfigError, match="not for instances"):
        loop.runner.predict(loop.raw_model, empty_batch())


def test_shapes_as_instances_are_scored_perfect_by_their_own_masks():
    from segkit.metrics.coco_ap import CocoAP
    from segkit.metrics.matched_mask_iou import MatchedMaskIoU

    dataset = ShapesInstances("val", 3, boxes_only=False)
    assert "masks" not in ShapesInstances("val", 3).sample(0) and len(dataset.classes) == 5
    metrics = [CocoAP(), MatchedMaskIoU(), CocoAP(filled=True)]
    for metric in metrics:
        metric.start(dataset)
        metric.reset()
    for i in range(3):
        sample = dataset.sample(i)
        from pycocotools import mask as coco_mask

        codes = [coco_mask.encode(np.asfortranarray(mask)) for mask in sample["masks"]]
        prediction = dict(masks=codes, scores=[0.9] * len(codes), labels=sample["labels"], boxes=sample["boxes"])
        for metric in metrics:
            metric.update([prediction], dict(meta=[sample["meta"]]))
    segm, matched, filled = (metric.compute() for metric in metrics)
    assert segm["AP"] == pytest.approx(100) and filled["AP"] < 80
    assert matched["mask_IoU"] == pytest.approx(100) and matched["recall"] == 100 and matched["filled_box_IoU"] < 90


PUBLISHED = {
    "boxlevelset_r50": "boxlevelset/boxlevelset_r50_3x_coco",
    "box2mask_r50": "box2mask/box2mask_t_r50_50e_coco",
    "boxinst_r50": "boxinst/boxinst_r50_1x_coco",
    "boxteacher_r50": "boxteacher/boxteacher_r50_1x_coco",
    "discobox_r50": "discobox/discobox_r50_3x_coco",
}
"""Model -> a config of the published tables."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_take_a_step(name):
    """Rows and heads fit what the config's runner hands them; small widths."""
    cfg = load_config(BOX_CONFIGS / f"{PUBLISHED[name]}.py", ["num_classes=3", *ROWS[name].small])
    check_supervision(cfg)
    model = build_model(cfg["model"]).train()
    batch = empty_batch((64, 96))
    batch["boxes"][0], batch["labels"][0] = torch.tensor([[8.0, 8.0, 60.0, 56.0]]), torch.tensor([1])
    batch["crowd"][0] = torch.tensor([False])
    batch["masks"][0] = torch.zeros(1, 64, 96, dtype=torch.uint8)
    batch["masks"][0][0, 8:57, 8:61] = 1
    runner = build_runner(cfg)
    average = cfg["loop"].get("ema", 0.0)
    runner.start(Stage(), SimpleNamespace(raw_model=model, ema=Ema(model, average) if average else None))
    outputs = runner.forward(model, batch, np.random.default_rng(0))
    terms = build_criterion(cfg["losses"])(outputs, batch, 0)
    assert all(torch.isfinite(value) for value in terms.values()) and sum(terms.values()) > 0


@pytest.mark.parametrize(
    ("method", "boxes_only", "message"),
    [
        ("BoxLevelSet", False, "learns from boxes, and train.dataset gives outlines as masks: set boxes_only=True"),
        ("SOLOv2Masks", True, "learns from masks, and train.dataset gives filled boxes as masks: set boxes_only=False"),
    ],
)
def test_outlines_never_teach_what_learns_from_boxes(method, boxes_only, message, tmp_path):
    cfg = sections(method)
    cfg["train"]["dataset"]["boxes_only"] = boxes_only
    with pytest.raises(ConfigError, match=message):
        loop_of(cfg, tmp_path)
    cfg["train"]["dataset"] = dict(type="FewInstances", dataset=cfg["train"]["dataset"])
    with pytest.raises(ConfigError, match=message):
        check_supervision(cfg)
