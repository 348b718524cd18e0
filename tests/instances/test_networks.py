"""Published networks of box-supervised methods: names one to one, outputs of whole models and of a small head."""

import gzip
import json

import numpy as np
import pytest
import torch

from segkit.archs.solov2 import SOLOv2Head
from segkit.convert.keymap import load_map
from segkit.ops.instances.cell_masks import cell_masks
from segkit.ops.instances.grid_assignment import Cells
from segkit.ops.instances.matrix_nms import points_nms
from tests.archs_table import build
from tests.instances.published import FOLDER, load, off
from tests.instances.solo_head import shapes
from tests.oracles import reference_model, weights_of

MAPS = {
    "boxlevelset_r50": "boxlevelset",
    "boxlevelset_r101_dcn": "boxlevelset",
    "box2mask_r50": "box2mask",
    "box2mask_swin_t": "box2mask",
    "box2mask_swin_l": "box2mask",
    "boxinst_r50": "boxinst",
}
SMALL = (8, 6, 4, 3, 2)


def names(model: str) -> dict[str, list[int]]:
    return json.loads(gzip.decompress((FOLDER / "names.json.gz").read_bytes()))[model]


@pytest.mark.parametrize("model", MAPS)
def test_names_match_one_to_one(model):
    net = build(model, 80, ("model.backbone.pretrained=None",), device="meta")
    source = {name: tuple(shape) for name, shape in names(model).items()}
    assert f"{len(net.state_dict())} tensors matched" in load_map(MAPS[model]).check(source, net.state_dict())


@pytest.fixture(scope="module")
def level_set_net():
    """The published ResNet-50 model's features and outputs, and what is known of them."""
    known = load("boxlevelset_r50_forward")
    model = reference_model("boxlevelset_r50", "boxlevelset", names("boxlevelset_r50"), ("num_classes=80",))
    with torch.no_grad():
        features = model.neck(model.backbone(known["img"]))
        return features, model.head(features, known["img"]), known


def test_box_level_set_is_the_published_one(level_set_net):
    features, outputs, known = level_set_net
    assert off(outputs["level_features"], known["levelset"]) < 1e-5
    for i, category in enumerate(outputs["categories"]):
        assert off(features[i][0, :8, :2, :2], known[f"fpn{i}"]) < 1e-5
        assert off(category[0, :1], known[f"cate{i}"]) < 1e-5
        kept = points_nms(category.sigmoid())[0, :6].permute(1, 2, 0)
        assert off(kept[:4], known[f"cate_eval{i}"]) < 1e-5
        last = category.shape[2] ** 2 - 1
        cells = [Cells(torch.tensor([0, 5, last]), torch.zeros(3, dtype=torch.int64))]
        size = tuple(known[f"ins{i}"].shape[1:])
        made = cell_masks(outputs["kernels"][i], outputs["mask_features"], cells, size=size)
        assert off(made, known[f"ins{i}"]) < 1e-5


@torch.no_grad()
def test_box2mask_is_the_published_one():
    known = load("box2mask_r50_forward")
    model = reference_model("box2mask_r50", "box2mask", names("box2mask_r50"), ("num_classes=80",))
    features = model.backbone(known["img"])
    memories, mask_features = model.head.pixels(features[-4:])
    for i in range(4):
        assert off(features[i - 4][0, :8, :2, :2], known[f"backbone{i}"]) < 1e-5
    for memory, part in zip(memories, (known[f"memory{i}"] for i in range(3))):
        assert off(memory[0, :4], part) < 1e-5
    assert off(mask_features[0, :8, :4, :4], known["mask_feature"]) < 1e-5
    outputs = model.head(features, known["img"])
    assert off(outputs["level_features"], known["lst"]) < 1e-5 and len(outputs["mask_logits"]) == 10
    for i in (0, 1, 9):
        assert off(outputs["class_logits"][i][:, :16], known[f"cls{i}"]) < 1e-4, i
        assert off(outputs["mask_logits"][i][0, :3], known[f"mask{i}"]) < 1e-4, i


@pytest.fixture(scope="module")
def small_head():
    """The published small head's inputs and outputs, the head, and ours."""
    known = load("boxsolov2_small") | load("boxsolov2_small_outputs")
    head = SOLOv2Head(
        (16,) * 5,
        5,
        strides=(4, 8, 16, 32, 64),
        channels=32,
        depth=2,
        grids=SMALL,
        score_threshold=0.3,
        mask_threshold=0.5,
        limit=20,
    )
    key_map = load_map("boxlevelset")
    by_name = {key_map.rename(f"bbox_head.{name}")[0]: value for name, value in weights_of(shapes()).items()}
    head.load_state_dict({name.removeprefix("head."): value for name, value in by_name.items()})
    with torch.no_grad():
        return known, head, head([known[f"feat{i}"] for i in range(5)], known["img"])


@torch.no_grad()
def test_the_small_head_is_the_published_one(small_head):
    known, _, outputs = small_head
    assert off(outputs["level_features"], known["levelset_feats"]) < 1e-5
    for i, grid in enumerate(SMALL):
        category = outputs["categories"][i]
        assert off(category, known[f"cate_pred{i}"]) < 1e-5
        assert off(points_nms(category.sigmoid()).permute(0, 2, 3, 1), known[f"eval_cate{i}"]) < 1e-5
        cells = [Cells(torch.arange(grid**2), torch.arange(grid**2))]
        size = tuple(known[f"ins{i}"].shape[1:])
        masks = cell_masks(outputs["kernels"][i][:1], outputs["mask_features"][:1], cells, size=size)
        assert off(masks[:4], known[f"ins{i}"]) < 1e-3  # they are stored in half precision


def test_instances_of_the_small_head_are_the_published_ones(small_head):
    known, head, outputs = small_head
    meta = [dict(size=(80, 120), valid=(64, 96)), dict(size=(70, 100), valid=(56, 80))]
    for i, found in enumerate(head.instances(outputs, meta)):
        assert off(found.scores, known[f"seg{i}_scores"]) < 1e-6
        assert torch.equal(found.labels, known[f"seg{i}_labels"])
        masks = np.unpackbits(known[f"seg{i}_masks_packed"].numpy(), axis=-1)[..., : found.masks.shape[2]]
        assert np.array_equal(found.masks.numpy(), masks.astype(bool))
    none = head.instances({**outputs, "categories": [x - 100 for x in outputs["categories"]]}, meta)
    assert [one.masks.shape for one in none] == [(0, 80, 120), (0, 70, 100)]


def test_weights_first_made_in_inference_mode_serve_training_too():
    """References share the numbers of encoders; whichever test asks first may run in inference mode."""
    with torch.inference_mode():
        made = weights_of({"backbone.layer9.first.weight": [2, 3]})
    assert not made["backbone.layer9.first.weight"].is_inference()
