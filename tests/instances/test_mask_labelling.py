"""MAL's runner: its teacher, its losses as published, masks in given boxes, and the labels that a checkpoint writes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from torch import nn

from segkit.api import build_runner
from segkit.cli import label as command
from segkit.config import load_config
from segkit.criterion import build_criterion
from segkit.data.files.coco_json import draw
from segkit.data.loader import collate_train
from segkit.engine import checkpoint
from segkit.engine.hooks import Checkpoint
from segkit.engine.loop import Loop
from segkit.models.mask_labeler import SIZES, MaskLabeler
from segkit.ops.instances.prompted_masks import MaskNumbers
from segkit.registry import ConfigError
from segkit.runners.instances.box_labels import NO_FILTER, BoxLabeler
from segkit.schema import check
from segkit.types import Stage
from tests.archs_table import MODELS
from tests.data.layouts import write_image
from tests.instances.boxes_oracle import load, unpacked
from tests.instances.test_box_runner import loop_of
from tests.instances.test_box_runner import sections as box_inst
from tests.instances.test_instance_sets import CATEGORIES, entry

SQUARE = [[10.0, 8.0, 70.0, 8.0, 70.0, 58.0, 10.0, 58.0]]


@pytest.fixture(autouse=True)
def short(request, monkeypatch):
    """Networks of one block of 32 channels, but where the weights of a real one are copied."""
    if "timm" not in request.node.name:
        monkeypatch.setitem(SIZES, "tiny", (32, 1, 2))


@pytest.fixture
def boxes(tmp_path):
    """Two images; the objects 1 and 4 are large enough to learn from, 2 has an outline, 3 is a crowd."""
    entries = [
        entry(1, 10, [10, 8, 60, 50], segmentation=None),
        entry(2, 10, [30, 20, 20, 20], segmentation=SQUARE),
        entry(3, 10, [0, 0, 90, 60], iscrowd=1, segmentation=dict(size=[64, 100], counts=[0, 6400])),
        entry(4, 11, [5, 5, 55, 45.5], category=3, segmentation=None),
    ]
    for number in (10, 11):
        write_image(tmp_path / "images" / f"{number}.png", (64, 100))
    images = [dict(id=number, file_name=f"{number}.png", height=64, width=100) for number in (10, 11)]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(dict(images=images, categories=CATEGORIES, annotations=entries, info={"year": 2026})))
    return path


def sections(path, **loop) -> dict:
    content = json.loads(path.read_text())
    for row in content["annotations"]:
        row["segmentation"] = row["segmentation"] or SQUARE
    truth = path.with_name("truth.json")
    truth.write_text(json.dumps(content))
    images = str(path.parent / "images")
    cfg = dict(
        model=dict(type="MaskLabeler", size="tiny"),
        losses=[dict(type="MAL", mil_warm_up=0, crf_warm_up=0, rounds=3)],
        runner=dict(type="MaskLabelling", side=32),
        train=dict(
            batch_size=2,
            workers=0,
            dataset=dict(
                type="BoxCrops", dataset=dict(type="COCOInstances", annotations=str(path), images=images), side=32
            ),
            transforms=[dict(type="Flip")],
        ),
        val=dict(batch_size=2, workers=0, dataset=dict(type="COCOInstances", annotations=str(truth), images=images)),
        optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.9)),
        schedule=dict(type="Constant"),
        loop=dict(steps=4, save_every=2, monitor="matched.mask_IoU", ema=0.996, ema_rise=1, ema_buffers=False) | loop,
    )
    check(cfg)
    return cfg


def batch_of(loop: Loop) -> dict:
    return collate_train([loop.items[i, i] for i in (0, 1)])


# training


def test_the_teacher_follows_by_its_law_from_the_first_step(boxes, tmp_path):
    loop = loop_of(sections(boxes), tmp_path)
    loop.model.train()
    average = {name: value.detach().clone() for name, value in loop.raw_model.named_parameters()}
    for _ in range(3):
        batch = batch_of(loop)
        outputs = loop.runner.forward(loop.model, dict(batch), np.random.default_rng(0))
        areas = torch.tensor([60.0 * 50, 55 * 45.5])
        with torch.no_grad():
            expected = loop.ema.module(batch["image"], areas)["logits"]
        torch.testing.assert_close(outputs["teacher.logits"], expected)
        assert outputs["logits"].requires_grad and not outputs["teacher.logits"].requires_grad
        terms = loop.train_step([batch])
        assert set(terms) == {"MAL.mil", "MAL.crf"} and all(torch.isfinite(value) for value in terms.values())
        for name, value in loop.raw_model.named_parameters():
            average[name] = 0.996 * average[name] + 0.004 * value.detach()
    for name, value in loop.ema.module.named_parameters():
        torch.testing.assert_close(value, average[name], rtol=1e-5, atol=1e-7)
        assert not value.requires_grad


def test_a_run_goes_on_equally_after_a_break(boxes, tmp_path):
    def begun(folder, steps: int) -> Loop:
        loop = loop_of(sections(boxes), folder, hooks=(Checkpoint(),))
        loop.val, loop.total_steps = None, steps
        return loop

    whole, half, again = begun(tmp_path / "whole", 4), begun(tmp_path / "half", 2), begun(tmp_path / "half", 4)
    whole.fit()
    half.fit()
    again.load_state_dict(checkpoint.read(tmp_path / "half" / "last.pt"), "last.pt")
    again.fit()
    for one, other in ((whole.raw_model, again.raw_model), (whole.ema.module, again.ema.module)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert [int(loss.calls) for loss in again.criterion.losses] == [4]


class Given(nn.Module):
    """Answers with stored logits."""

    def __init__(self, logits, image):
        super().__init__()
        self.logits, self.image = logits, image

    def forward(self, image, area):
        return {"logits": self.logits, "image": self.image}


@pytest.mark.parametrize("step", [250, 1000, 3000, 4000])
def test_the_rows_of_the_config_make_the_published_losses_of_a_step(step):
    known, cfg = load("mal_losses"), load_config(MODELS / "mal_vit-b.py", ["num_classes=1"])
    runner, criterion = build_runner(cfg), build_criterion(cfg["losses"])
    teacher = SimpleNamespace(module=Given(known["teacher_logits"], known["image"]))
    runner.start(Stage(), SimpleNamespace(ema=teacher))
    mask = unpacked(known["mask"], 64).long()
    metas = [dict(box=(0.0, 0.0, 50.0, 60.0)) for _ in mask]
    batch = dict(image=known["image"], mask=mask, meta=metas)
    student = Given(known["student_logits"].requires_grad_(), known["image"])
    outputs = runner.forward(student, batch, np.random.default_rng(0))
    criterion.losses[0].calls += step
    terms = criterion(outputs, batch, step)
    found = torch.stack([terms["MAL.mil"], terms["MAL.crf"]]).detach().double()
    torch.testing.assert_close(found, known[f"total.step{step}"], rtol=1e-5, atol=1e-9)


def test_what_is_missing_is_said(boxes, tmp_path):
    with pytest.raises(ConfigError, match=r"set loop.ema=0.996, loop.ema_rise=1, loop.ema_buffers=False"):
        loop_of(sections(boxes, ema=0.0), tmp_path)
    cfg = sections(boxes)
    cfg["runner"]["side"] = 48
    with pytest.raises(ConfigError, match=r"train.dataset.side = 32: differs from runner.side = 48"):
        loop_of(cfg, tmp_path)
    cfg["runner"]["side"] = 40
    with pytest.raises(ConfigError, match=r"runner.side = 40: must be a multiple of 16"):
        build_runner(cfg)
    runner, batch = build_runner(sections(boxes)), dict(image=torch.zeros(1, 3, 32, 32), meta=[dict(id="a")])
    with pytest.raises(ConfigError, match=r"train.dataset = dict\(type='BoxCrops'"):
        runner.forward(nn.Identity(), batch, np.random.default_rng(0))
    with torch.device("meta"):
        model = MaskLabeler(size="tiny", pretrained=True)
    with pytest.raises(ConfigError, match=r"use segkit label BOXES.json IMAGES"):
        runner.predict(model, batch)
    with pytest.raises(ConfigError, match=r"model.type = Identity: draws no masks in boxes"):
        runner.predict(nn.Identity(), batch)
    with pytest.raises(ConfigError, match=r"model.num_classes = 2: the model draws one mask in each box, set 1"):
        MaskLabeler(2)


# weights


def test_blocks_of_timm_are_copied_and_others_refused(monkeypatch):
    torch.manual_seed(0)
    weights = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    asked = []

    def create(name, **others):
        asked.append(name)
        if "small" in name:
            raise OSError("no network")
        return weights

    monkeypatch.setattr(timm, "create_model", create)
    own = MaskLabeler(size="tiny", pretrained=True).backbone.state_dict()
    copied = [name for name in own if not name.startswith("patch_embed.")]
    assert len(copied) == 2 + 12 * 12 + 2 and asked == ["deit_tiny_patch16_224.fb_in1k"]
    assert all(torch.equal(own[name], weights.state_dict()[name]) for name in copied)
    with pytest.raises(ConfigError, match=r"model.pretrained = 'deit_small_patch16_224.fb_in1k': its weights cannot"):
        MaskLabeler(size="small", pretrained=True)
    with pytest.raises(ConfigError, match=r"148 of 148 tensors are missing there or have another shape, cls_token"):
        weights = nn.Identity()
        MaskLabeler(size="tiny", pretrained="vit_tiny_patch16_224")
    with pytest.raises(ConfigError, match=r"timm has no such model; did you mean 'deit_tiny_patch16_224"):
        MaskLabeler(size="tiny", pretrained="vit_tinny_patch16_224")


# masks in boxes


class Filled(MaskLabeler):
    """Draws the upper half of each crop."""

    def forward(self, image, area):
        assert image.shape[1:] == (3, 32, 32)
        self.areas += area.tolist()
        logits = torch.full((len(image), 1, 8, 8), -9.0)
        logits[:, :, :4] = 9.0
        return {"logits": logits}


def filled() -> MaskLabeler:
    with torch.device("meta"):
        model = Filled(size="tiny")
    model.mean, model.areas = torch.zeros(1, 3, 1, 1), []
    return model.eval()


def test_masks_are_drawn_in_their_boxes_batch_by_batch():
    image, model = np.zeros((64, 100, 3), np.uint8), filled()
    many = np.tile(np.array([[10.0, 8.0, 70.0, 58.0]], np.float32), (11, 1))
    many[9] = (60, 30, 100, 64)  # its crop leaves the image
    drawn = list(BoxLabeler(model, 32).draw(image, many))
    assert [len(one.logits) for one in drawn] == [8, 3] and all((one.ious == 1).all() for one in drawn)
    assert model.areas == [3000.0] * 9 + [40 * 34.0, 3000.0]
    masks = torch.cat([one.logits for one in drawn]) > 0
    for mask, (x0, y0, x1, y1) in zip(masks, many.tolist()):
        rows, columns = mask.nonzero().T
        step = 1.3 * (y1 - y0) / 8  # pixels of a cell of the crop, whose middle is the box's
        assert abs(rows.min() - y0) <= step and abs(rows.max() - (y0 + y1) / 2) <= step
        assert abs(columns.min() - x0) <= 1.3 * (x1 - x0) / 8 and abs(columns.max() - x1) <= 1.3 * (x1 - x0) / 8
    assert list(BoxLabeler(model, 32).draw(image, many[:0])) == []


def test_predictions_keep_the_boxes_and_leave_out_crowds(boxes):
    runner = build_runner(sections(boxes))
    image = torch.zeros(2, 3, 64, 100, dtype=torch.uint8)
    metas = [dict(id="10", path="a", size=(64, 100), valid=(64, 100))] * 2
    given = torch.tensor([[10.0, 8.0, 70.0, 58.0], [0.0, 0.0, 90.0, 60.0]])
    batch = dict(
        image=image,
        meta=metas,
        boxes=[given, given[:0]],
        labels=[torch.tensor([1, 0]), torch.zeros(0, dtype=torch.int64)],
        crowd=[torch.tensor([False, True]), torch.zeros(0, dtype=torch.bool)],
    )
    one, none = runner.predict(filled(), batch)
    assert one["boxes"].tolist() == [[10, 8, 70, 58]]
    assert one["labels"].tolist() == one["scores"].tolist() == [1]
    assert 1400 < draw(one["masks"][0], 64, 100).sum() < 2400  # half of 60 x 50
    assert none["masks"] == [] and len(none["boxes"]) == 0


def test_a_mask_without_a_pixel_teaches_nothing():
    assert MaskNumbers(1.0, 0.0, 0.0, 0.0, 0.0).quality(NO_FILTER) == 0
    assert MaskNumbers(1.0, 0.0, 0.0, 0.0, 0.1).quality(NO_FILTER) == 1


def test_a_checkpoint_scores_given_boxes_and_writes_labels(boxes, tmp_path, capsys):
    loop = loop_of(sections(boxes, steps=1), tmp_path / "run", hooks=(Checkpoint(),))
    loop.fit()
    scores = loop.evaluate()
    assert scores["matched"]["objects"] == scores["matched"]["detections"] == 3
    assert scores["matched"]["recall"] == 100 and scores["matched"]["mask_IoU"] > 0
    assert "mask_IoU" in loop.runner.table(scores)
    last, out = tmp_path / "run" / "last.pt", tmp_path / "masks.json"
    line = [str(boxes), str(tmp_path / "images"), "--model", str(last), "--out", str(out), "--device", "cpu"]
    assert command.main(line) == 0
    said = "2 masks drawn, 0 stopped by the filters (their boxes stay), 2 objects as they were"
    assert said in capsys.readouterr().out
    before, after = (json.loads(path.read_text()) for path in (boxes, out))
    assert after["info"] == {"year": 2026} and after["categories"] == CATEGORIES
    old, rows = ({row["id"]: row for row in content["annotations"]} for content in (before, after))
    assert rows[2] == old[2] and rows[3] == old[3]
    for number in (1, 4):
        row, (x, y, width, height) = rows[number], old[number]["bbox"]
        assert row["mask_quality"] == 1 and row["bbox"] == old[number]["bbox"]
        mask = draw(row["segmentation"], 64, 100)
        assert row["area"] == mask.sum() > 0
        ys, xs = np.nonzero(mask)
        cell = 1.3 * max(width, height) / 8
        assert x - cell <= xs.min() and xs.max() <= x + width + cell
        assert y - cell <= ys.min() and ys.max() <= y + height + cell
    # a filter that is asked for holds
    assert command.main([*line[:-4], "--out", str(tmp_path / "m.json"), "--least-filled", "1", "--device", "cpu"]) == 0
    content = json.loads((tmp_path / "m.json").read_text())["annotations"]
    kept = [row["mask_quality"] for row in content if "mask_quality" in row]
    assert len(kept) == 2 and [row["mask_numbers"]["filled"] >= 1 for row in content if "mask_quality" in row] == [
        quality > 0 for quality in kept
    ]


def test_other_checkpoints_are_refused(boxes, tmp_path, capsys):
    cfg = box_inst("BoxInst")
    cfg["loop"]["steps"] = 1
    loop = loop_of(cfg, tmp_path / "run", hooks=(Checkpoint(),))
    loop.val = None
    loop.fit()
    line = [str(boxes), str(tmp_path / "images"), "--out", str(tmp_path / "m.json"), "--device", "cpu", "--model"]
    assert command.main([*line, str(tmp_path / "run" / "last.pt")]) == 2
    assert "is a Segmentor trained by the runner BoxSupervised, and draws no masks in boxes" in capsys.readouterr().err
    assert command.main([*line, str(tmp_path / "gone.pt")]) == 2
    assert "gone.pt: " in capsys.readouterr().err
