"""Masks in the boxes of a COCO file: numbers of masks by hand, no object is lost, stopped runs go on."""

import json

import numpy as np
import pytest
import torch

from segkit.cli import label as command
from segkit.data.instances.coco import COCOInstances
from segkit.files import DataError
from segkit.ops.instances.prompted_masks import MaskFilter, MaskNumbers, largest, mask_numbers
from segkit.runners.instances.box_prompted import AT_ONCE, BoxPrompted, Drawn
from segkit.runners.instances.labelling import Labelling, label
from tests.instances.test_box_teacher import mixed  # noqa: F401


def test_numbers_of_a_mask_by_hand():
    logits = torch.full((2, 10, 12), -5.0)
    logits[0, 2:6, 2:10] = 5  # 32 pixels, its tight box 2,2 to 10,6
    logits[0, 2, 2:6] = 0.5  # four of them are unsure
    logits[0, 9, 11] = 5  # a crumb
    found, empty = mask_numbers(logits, torch.tensor([1.2, 0.9]), torch.tensor([[2.0, 2, 10, 10], [0, 0, 5, 5]]))
    assert found.iou == 1
    assert found.stability == pytest.approx(29 / 33)
    # the tight box of all pixels is 2,2 to 12,10, the given one 2,2 to 10,10
    assert found.box == pytest.approx(64 / 80)
    assert found.filled == pytest.approx(32 / 64)
    assert found.component == pytest.approx(32 / 33)
    assert empty == MaskNumbers(pytest.approx(0.9), 0, 0, 0, 0)
    assert largest((logits[0] > 0).numpy()).sum() == 32


@pytest.mark.parametrize("name", ["iou", "stability", "box", "filled", "component"])
def test_each_filter_stops_a_mask(name):
    good = dict(iou=0.9, stability=0.9, box=0.9, filled=0.9, component=0.9)
    least = dict.fromkeys(good, 0.9)
    assert MaskNumbers(**good).quality(MaskFilter(**least)) == 0.9
    assert MaskNumbers(**good).quality(MaskFilter(**least | {name: 0.91})) == 0


class Squares:
    """Draws each box as it is, and those narrower than 15 pixels as their upper left pixel."""

    def __init__(self, fails_at: int | None = None):
        self.calls, self.fails_at = [], fails_at

    def draw(self, image, boxes):
        self.calls.append(len(boxes))
        if self.fails_at == len(self.calls):
            raise KeyboardInterrupt
        logits = torch.full((len(boxes), *image.shape[:2]), -9.0)
        for mask, (x0, y0, x1, y1) in zip(logits, boxes.round().astype(int).tolist()):
            mask[y0 : y1 if x1 - x0 >= 15 else y0 + 1, x0 : x1 if x1 - x0 >= 15 else x0 + 1] = 9
        yield Drawn(logits, torch.full((len(boxes),), 0.875))


def task_of(path, **others) -> Labelling:
    values = dict(boxes=path, images=path.parent / "images", out=path.parent / "masks.json", model="squares")
    return Labelling(**values | dict(least=MaskFilter()) | others)


@pytest.fixture
def boxes(mixed):  # noqa: F811
    """Two of the objects have an outline; a wide one, a box beyond the image and an empty box are added."""
    content = json.loads(mixed.read_text())
    content["info"] = {"year": 2026}
    for number, bbox in ((6, [10, 10, 20, 20]), (7, [40, 30, 30, 30]), (8, [60, 60, 5, 5])):
        row = dict(id=number, image_id=2, bbox=bbox, category_id=7, area=1, iscrowd=0, note="kept")
        content["annotations"].append(row)
    mixed.write_text(json.dumps(content))
    return mixed


def test_every_object_stays(boxes):
    counts = label(task_of(boxes), Squares())
    assert counts == dict(drawn=1, stopped=4, kept=3)
    before, after = (json.loads(path.read_text()) for path in (boxes, boxes.parent / "masks.json"))
    assert {key: after[key] for key in ("info", "images", "categories")} == {
        key: before[key] for key in ("info", "images", "categories")
    }
    rows = {row["id"]: row for row in after["annotations"]}
    assert set(rows) == {row["id"] for row in before["annotations"]} == set(range(1, 9))
    for row in before["annotations"]:
        assert rows[row["id"]]["bbox"] == row["bbox"]
        if row["id"] in (1, 3, 4):
            assert rows[row["id"]] == row
    assert rows[6]["mask_quality"] == 0.875 and rows[6]["area"] == 400 and rows[6]["note"] == "kept"
    assert rows[6]["mask_numbers"] == dict(iou=0.875, stability=1, box=1, filled=1, component=1)
    stopped = [rows[number] for number in (2, 5, 7, 8)]
    assert all(row["mask_quality"] == 0 and not row.get("segmentation") for row in stopped)
    assert rows[2]["mask_numbers"]["filled"] == 1 / 200 and "mask_numbers" not in rows[8]
    assert not boxes.with_name("masks.json.journal").exists()
    # what training reads
    images = str(boxes.parent / "images")
    sample = COCOInstances(annotations=str(boxes.parent / "masks.json"), images=images, boxes_only="mixed").sample(
        1, None
    )
    assert sample["mask_quality"].tolist() == [0, 0.875, 0]


def test_a_stopped_run_goes_on(boxes):
    with pytest.raises(KeyboardInterrupt):
        label(task_of(boxes), Squares(fails_at=2))
    assert not (boxes.parent / "masks.json").exists()
    with pytest.raises(DataError, match="begun with other options"):
        label(task_of(boxes, only_largest=True), Squares())
    again = Squares()
    assert label(task_of(boxes), again)["drawn"] == 1
    assert again.calls == [3]  # of image 2 alone, without the box that is outside


def test_bad_input_is_said(boxes, tmp_path, capsys):
    content = json.loads(boxes.read_text())
    content["images"][1]["height"] = 50
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"2.png: is 40 x 48 pixels, and .* says 50 x 48"):
        label(task_of(wrong), Squares())
    line = [str(boxes), str(tmp_path / "images"), "--model", "no/model", "--out"]
    assert command.main([*line, str(boxes)]) == 2
    assert "is the file of the boxes; choose another name" in capsys.readouterr().err
    assert command.main([*line, str(tmp_path / "m.json"), "--least-box", "1.5"]) == 2
    assert "--least-box 1.5: must lie between 0 and 1" in capsys.readouterr().err


def test_without_transformers_the_command_says_how_to_get_it(boxes, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    line = [
        str(boxes),
        str(tmp_path / "images"),
        "--model",
        "facebook/sam2.1-hiera-tiny",
        "--out",
        str(tmp_path / "m.json"),
    ]
    assert command.main(line) == 2
    assert 'needs the package transformers; run: pip install "segkit[promptable]"' in capsys.readouterr().err


def tiny_sam2(folder) -> None:
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

    torch.manual_seed(0)
    hidden = dict(
        hidden_size=8,
        num_attention_heads=1,
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
        image_size=[128, 128],
        window_positional_embedding_background_size=[4, 4],
    )
    vision = dict(
        backbone_config=dict(model_type="sam2_hiera_det_model", **hidden),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=32,
    )
    decoder = dict(hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=32)
    config = Sam2Config(
        vision_config=vision, prompt_encoder_config=dict(hidden_size=32, image_size=128), mask_decoder_config=decoder
    )
    Sam2Model(config).save_pretrained(folder)
    Sam2Processor(Sam2ImageProcessor(size=dict(height=128, width=128))).save_pretrained(folder)


def tiny_sam(folder) -> None:
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    torch.manual_seed(0)
    vision = dict(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=128,
        output_channels=32,
        mlp_dim=32,
        global_attn_indexes=[1],
        window_size=4,
        num_pos_feats=16,
    )
    prompts = dict(hidden_size=32, image_size=128, image_embedding_size=8)
    decoder = dict(hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=32)
    SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    ).save_pretrained(folder)
    sizes = dict(
        size=dict(longest_edge=128),
        pad_size=dict(height=128, width=128),
        mask_size=dict(longest_edge=32),
        mask_pad_size=dict(height=32, width=32),
    )
    SamProcessor(SamImageProcessor(**sizes)).save_pretrained(folder)


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_sam2, tiny_sam])
def test_a_network_of_transformers_draws_the_boxes_of_a_file(make, boxes, tmp_path, capsys):
    pytest.importorskip("transformers")
    make(tmp_path / "net")
    device = torch.device("cpu")
    network = BoxPrompted(str(tmp_path / "net"), device)
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)
    many = np.tile(np.array([[3.0, 4, 30, 30]], np.float32), (AT_ONCE + 3, 1))
    many[1] = (10, 10, 47, 39)
    with torch.no_grad():
        batches = list(network.draw(image, many))
        (alone,) = network.draw(image, many[1:2])
        inputs = network.processor(images=image, input_boxes=[many[:2].tolist()], return_tensors="pt")
        sizes = [inputs[key] for key in ("original_sizes", "reshaped_input_sizes") if key in inputs]
        prompts = {key: inputs[key].float() for key in ("pixel_values", "input_boxes")}
        outputs = network.model(**prompts, multimask_output=False)
        (whole,) = network.processor.post_process_masks(outputs.pred_masks, *sizes, binarize=False)
    assert [batch.logits.shape for batch in batches] == [(AT_ONCE, 40, 48), (3, 40, 48)]
    torch.testing.assert_close(batches[0].logits[:2], whole[:, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(batches[0].ious[:2], outputs.iou_scores[0, :, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(alone.logits[0], batches[0].logits[1], rtol=1e-4, atol=1e-4)
    # with all filters open every mask of random weights that has a pixel passes
    options = [word for name in command.FILTERS for word in (f"--least-{name}", "0")]
    line = [str(boxes), str(tmp_path / "images"), "--model", str(tmp_path / "net"), "--out", str(tmp_path / "m.json")]
    assert command.main([*line, *options, "--device", "cpu"]) == 0
    assert "objects as they were" in capsys.readouterr().out
    rows = json.loads((tmp_path / "m.json").read_text())["annotations"]
    assert len(rows) == 8 and sum("mask_numbers" in row for row in rows) == 4
