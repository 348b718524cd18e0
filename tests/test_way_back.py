"""The way from the network's image back to the stored one, with a network whose right answer is known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segkit import api
from segkit.cli.main import main
from segkit.data.loader import EvalItems
from segkit.data.transforms.operations import flip
from segkit.data.transforms.way_back import for_network
from segkit.engine import checkpoint
from segkit.engine.pictures import image_of
from segkit.files import DataError
from segkit.ops.instances.query_results import boxes_at_original
from segkit.ops.resizing import resize, to_original
from segkit.registry import TRANSFORMS, ConfigError, build
from segkit.types import Batch, Meta, Sample
from tests.bright import Bright

SIZES = ((40, 60), (41, 57), (33, 99))

KEEPING = {
    "none": [],
    "resize": [dict(type="Resize", size=(64, 96))],
    "pad": [dict(type="Pad", divisor=64)],
    "pad to a size": [dict(type="Resize", size=(80, 128), keep_ratio=True), dict(type="Pad", size=(128, 128))],
    "centred pad": [dict(type="Resize", short=64), dict(type="Pad", divisor=32, centred=True)],
    "mirrored pad": [dict(type="ReflectPad", divisor=32)],
    "mirrored pad, then flip": [dict(type="ReflectPad", divisor=32), dict(type="Flip", p=1.0)],
    "pad, then resize": [dict(type="Pad", divisor=64), dict(type="Resize", short=97)],
    "centred pad, then resize": [dict(type="Pad", divisor=64, centred=True), dict(type="Resize", short=97)],
    "flip": [dict(type="Flip", p=1.0)],
    "flip both, pad, resize": [
        dict(type="Flip", p=1.0, direction="both"),
        dict(type="Pad", divisor=32),
        dict(type="Resize", short=100),
    ],
    "quarter turn": [dict(type="Rot90", p=1.0, turns=(1,))],
    "three quarters, resize, centred pad": [
        dict(type="Rot90", p=1.0, turns=(3,)),
        dict(type="Resize", short=80),
        dict(type="Pad", size=200, centred=True),
    ],
    "random scale": [dict(type="RandomScale", low=1.2, high=1.9)],
}
"""Transforms that leave the whole image to see."""

CUTTING = [
    dict(type="CenterCrop", size=20),
    dict(type="RandomCrop", size=20),
    dict(type="RandomScaleCrop", size=20),
    dict(type="RandomResizedCrop", size=20),
    dict(type="FocusCrop", size=20),
    dict(type="RandomRotate", degrees=30),
    dict(type="RandomAffine", shift=0.2),
    dict(type="Elastic"),
    dict(type="ElasticNoise"),
    dict(type="UntilBox", transforms=[dict(type="CenterCrop", size=20)]),
]

INFERENCE = {
    "whole": {},
    "slide": dict(mode="slide", crop=(32, 32), stride=(20, 20)),
    "tta": dict(tta=dict(scales=(0.75, 1.0, 1.25), flip=True)),
    "slide and tta": dict(mode="slide", crop=(32, 32), stride=(20, 20), tta=dict(scales=(1.0, 1.5), flip=True)),
}


def picture(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 [H,W,3], and its labels: two bright rectangles, so that no mirrored image looks the same."""
    labels = np.zeros(size, np.uint8)
    labels[10:30, 20:50] = labels[3:9, 5:11] = 1
    return np.repeat(labels[:, :, None] * np.uint8(255), 3, 2), labels


def network(rows: list, **sections) -> Bright:
    model = Bright()
    model.config = dict(test=dict(transforms=rows), **sections)
    return model.eval()


@pytest.mark.parametrize("inference", INFERENCE.values(), ids=INFERENCE)
@pytest.mark.parametrize("rows", KEEPING.values(), ids=KEEPING)
def test_a_perfect_network_stays_perfect_in_predict(rows, inference):
    for size in SIZES:
        image, labels = picture(size)
        found = api.predict(network(rows, inference=inference), image)["labels"]
        assert np.array_equal(found, labels), (size, int((found != labels).sum()))


@pytest.fixture
def folder(tmp_path) -> Path:
    for split in ("images", "masks"):
        (tmp_path / split).mkdir()
    for i, size in enumerate(SIZES):
        image, labels = picture(size)
        cv2.imwrite(str(tmp_path / f"images/{i}.png"), image)
        cv2.imwrite(str(tmp_path / f"masks/{i}.png"), labels)
    return tmp_path


def test_section(folder: Path, rows: list, **keys) -> dict:
    data = dict(type="Folder", root=str(folder), images="images", masks="masks", classes=("dark", "bright"))
    return dict(dataset=data, transforms=rows, workers=0, **keys)


test_section.__test__ = False


@pytest.mark.parametrize("inference", ["whole", "slide and tta"])
@pytest.mark.parametrize("rows", KEEPING.values(), ids=KEEPING)
def test_a_perfect_network_stays_perfect_in_evaluation(folder, rows, inference):
    for batch_size in (1, 3):
        model = network([], inference=INFERENCE[inference])
        model.config["test"] = test_section(folder, rows, batch_size=batch_size)
        assert api.evaluate(model)["mIoU"] == 100, batch_size


def checkpoint_of(folder: Path, rows: list, classes=("dark", "bright"), **model) -> Path:
    config = dict(model=dict(type="tests.bright:Bright", num_classes=len(classes), **model))
    config["test"] = test_section(folder, rows)
    content = dict(model=Bright().state_dict(), config=config, classes=list(classes), palette=None)
    checkpoint.save(folder / "bright.pt", content)
    return folder / "bright.pt"


@pytest.mark.parametrize("name", ["pad", "pad, then resize", "flip both, pad, resize", "quarter turn"])
def test_a_perfect_network_stays_perfect_in_the_commands(folder, name, monkeypatch):
    monkeypatch.chdir(folder)
    path = checkpoint_of(folder, KEEPING[name])
    assert main(["predict", str(path), str(folder / "images"), "--out", str(folder / "out"), "--trust"]) == 0
    for i, size in enumerate(SIZES):
        written = cv2.imread(str(folder / f"out/labels/{i}.png"), cv2.IMREAD_GRAYSCALE)
        shown = api.predict(network(KEEPING[name]), picture(size)[0])["labels"]
        assert np.array_equal(shown, picture(size)[1]) and written.shape == size
    assert main(["test", str(path), "--trust", "--out", str(folder / "scores.json")]) == 0
    assert '"mIoU": 100.0' in (folder / "scores.json").read_text()


def test_of_named_test_sets_predict_takes_the_first_ones_transforms():
    image, labels = picture((40, 60))
    model = network([])
    model.config["test"] = dict(small=dict(transforms=[dict(type="CenterCrop", size=9)]), large=dict(transforms=[]))
    with pytest.raises(ConfigError, match=r"test\.small\.transforms\.0 = CenterCrop"):
        api.predict(model, image)
    model.config["test"] = dict(large=dict(transforms=KEEPING["flip"]))
    assert np.array_equal(api.predict(model, image)["labels"], labels)


@pytest.mark.parametrize("row", CUTTING, ids=lambda row: row["type"])
def test_what_has_no_way_back_is_refused_by_name_and_path(row, folder):
    inner = row.get("transforms")
    name = r"transforms\.0\.transforms\.0 = CenterCrop" if inner else f"transforms.0 = {row['type']}"
    with pytest.raises(ConfigError, match=rf"test\.{name}: cuts or deforms"):
        api.predict(network([row]), picture((40, 60))[0])
    model = network([])
    model.config["test"] = test_section(folder, [row])
    with pytest.raises(ConfigError, match=rf"test\.{name}: cuts or deforms"):
        api.evaluate(model)


def test_every_registered_transform_that_loses_pixels_is_known():
    """A transform of segkit that moves pixels says so: the class's attribute is what its matrix shows."""
    image, _ = picture((48, 64))
    arguments = {row["type"]: {**row, "p": 1.0} for row in CUTTING if row["type"] in ("Elastic", "ElasticNoise")}
    arguments |= {row["type"]: row for row in CUTTING if row["type"] not in arguments}
    arguments |= {"RandomRotate": dict(type="RandomRotate", p=1.0), "RandomAffine": dict(CUTTING[6], p=1.0)}
    for name in ("RandomRotate", "RandomAffine", "Elastic", "ElasticNoise", "CenterCrop", "RandomCrop"):
        transform = build(arguments[name], TRANSFORMS, name)
        sample = Sample(image=image, meta=Meta(id="a", path="a.png", size=(48, 64)))
        with pytest.raises(DataError, match=f"a.png: {name} cuts or deforms the image"):
            for_network(sample, [transform], np.random.default_rng(0))


def test_a_transform_from_elsewhere_keeps_account_or_is_refused():
    image, _ = picture((40, 60))
    sample = Sample(image=image, meta=Meta(id="a", path="a.png", size=(40, 60)))

    def half(sample, rng):
        return {**sample, "image": sample["image"][::2, ::2]}

    def mirrored(sample, rng):
        return flip(sample, horizontal=True, vertical=False)

    with pytest.raises(DataError, match=r"a.png: half changes the image's size and does not say where"):
        for_network(sample, [half], np.random.default_rng(0))
    moved = for_network(sample, [mirrored], np.random.default_rng(0))
    assert moved["meta"]["matrix"].tolist() == [[-1, 0, 60], [0, 1, 0]]


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_training_refuses_them_before_it_starts(folder, split):
    from tests.tiny import sections

    cfg = sections()
    cfg[split] = dict(**cfg["val"], transforms=[dict(type="Flip"), dict(type="Elastic")])
    with pytest.raises(ConfigError, match=rf"{split}\.transforms\.1 = Elastic: cuts or deforms"):
        api.check_data(cfg)
    with pytest.raises(ConfigError, match=rf"{split}\.transforms\.1 = Elastic"):
        api.train(cfg, folder / "run", device="cpu")
    assert not (folder / "run/log.jsonl").exists()


def test_a_resized_image_comes_back_as_it_always_did():
    """Bit-equal to one bilinear resize, whatever else the function can do."""
    maps = torch.randn(1, 3, 37, 53)
    sample = Sample(image=np.zeros((40, 60, 3), np.uint8), meta=Meta(id="a", path="a", size=(40, 60)))
    seen = for_network(sample, [build(dict(type="Resize", size=(37, 53)), TRANSFORMS, "")], np.random.default_rng(0))
    for corners in (False, True):
        back = to_original(maps, (40, 60), seen["meta"]["matrix"], seen=(37, 53), align_corners=corners)
        assert torch.equal(back, resize(maps, size=(40, 60), align_corners=corners))


def test_maps_between_pixels_are_sampled_at_their_centers():
    """By hand: a ramp f(x) = x at pixel centers, seen from .25 to 3.25 of the network's image, in 3 and 6 pixels."""
    ramp = torch.tensor([0.5, 1.5, 2.5, 3.5]).expand(1, 1, 4, 4)
    matrix = np.array([[1.0, 0, 0.25], [0, 1.0, 0]])
    back = to_original(ramp, (4, 3), matrix, seen=(4, 4))
    assert torch.allclose(back[0, 0, 0], torch.tensor([0.75, 1.75, 2.75]))
    matrix = np.array([[-0.5, 0, 3.25], [0, 1.0, 0]])
    back = to_original(ramp, (4, 6), matrix, seen=(4, 4))
    assert torch.allclose(back[0, 0, 0], torch.tensor([3.0, 2.5, 2.0, 1.5, 1.0, 0.5]))


# in mirrored padding an object goes on, and its box with it
@pytest.mark.parametrize("name", [name for name in KEEPING if "then resize" not in name and "mirrored" not in name])
def test_instances_come_back_with_their_boxes(name):
    model = network(KEEPING[name], runner=dict(type="BoxSupervised"))
    for size in SIZES:
        image, labels = picture(size)
        found = api.predict(model, image)
        from pycocotools import mask as coco_mask

        assert np.array_equal(coco_mask.decode(found["masks"][0]), labels)
        assert np.abs(found["boxes"][0] - (5, 3, 50, 30)).max() <= 1  # a scaled box ends on whole pixels


def test_boxes_by_hand():
    """An image of 10 x 20 (H0 x W0), mirrored, doubled, with 3 rows and 4 columns of padding before it."""
    meta = Meta(size=(10, 20), valid=(30, 50), matrix=np.array([[-2.0, 0, 44], [0, 2.0, 3]]))
    boxes = torch.tensor([[4.0, 3, 14, 13], [30, 0, 50, 9]])
    assert boxes_at_original(boxes, (32, 64), meta).tolist() == [[15, 0, 20, 5], [0, 0, 7, 3]]


def test_pictures_show_the_image_as_it_is_stored():
    image, _ = picture((40, 60))
    sample = Sample(image=image, meta=Meta(id="a", path="a", size=(40, 60)))
    seen = for_network(sample, [build(dict(type="Flip", p=1.0), TRANSFORMS, "")], np.random.default_rng(0))
    tensor = torch.from_numpy(np.ascontiguousarray(seen["image"])).permute(2, 0, 1)[None]
    batch = Batch(image=tensor, meta=[seen["meta"]])
    assert np.array_equal(image_of(batch, 0), image) and not np.array_equal(seen["image"], image)


class Two:
    """A data set of two images, one of which a random flip turns."""

    def sample(self, index, rng):
        image, labels = picture((40, 60))
        return Sample(image=image, mask=labels, meta=Meta(id=str(index), path=str(index), size=(40, 60)))


def test_images_of_one_size_and_other_ways_are_not_predicted_as_one():
    from segkit.data.loader import collate_eval
    from segkit.runners.semantic import Semantic

    items = EvalItems(Two(), [build(dict(type="Flip", p=0.5), TRANSFORMS, "")])
    samples = [items[i] for i in range(8)]
    ways = {sample["meta"]["matrix"].tobytes() for sample in samples}
    assert len(ways) == 2
    found = Semantic().predict(network([]), collate_eval(samples))
    assert all(np.array_equal(one["labels"], picture((40, 60))[1]) for one in found)


def test_clicks_are_made_on_the_image_as_it_is_stored(folder):
    from segkit.engine.preflight import preflight
    from segkit.engine.setup import DataSets, build_evaluation
    from segkit.runners.interactive.runner import Interactive
    from tests.interactive.doubles import Echo

    for row in (dict(type="Flip"), dict(type="Resize", short=64), dict(type="Pad", divisor=64, centred=True)):
        section = test_section(folder, [row])
        match = rf"transforms\.0 = {row['type']}: moves the pixels of the image, and clicks are made on it"
        with pytest.raises(ConfigError, match=match):
            build_evaluation(section, "test", torch.device("cpu"), needs_stored=Interactive.needs_stored)
        with pytest.raises(ConfigError, match="val." + match):
            preflight(dict(val=section), Interactive(), DataSets())
        model = Echo()
        model.config = dict(test=dict(transforms=[row]))
        with pytest.raises(ConfigError, match="test." + match):
            api.click_predictor(model, zoom=None)
    shown = []
    for rows in ([], [dict(type="Pad", divisor=64)], [dict(type="Grayscale", p=1.0)]):
        model = Echo()
        model.config = dict(test=dict(transforms=rows))
        predictor = api.click_predictor(model, zoom=None, flip=False)
        predictor.set_image(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
        assert predictor.click(20, 30).shape == (40, 60)
        shown.append(predictor.probabilities)
    assert np.array_equal(shown[0], shown[1])  # padding is cut off, as in evaluation
    assert not np.array_equal(shown[0], shown[2])  # colors of section test count for clicks, too


def test_a_transform_from_elsewhere_that_moves_pixels_is_refused_for_clicks():
    from segkit.data.loader import collate_eval
    from segkit.runners.interactive.runner import Interactive
    from tests.interactive.doubles import Echo

    def mirrored(sample, rng):
        return flip(sample, horizontal=True, vertical=False)

    with pytest.raises(ConfigError, match=r"0: a transform of this section moves the pixels"):
        Interactive().predict(Echo(), collate_eval([EvalItems(Two(), [mirrored])[0]]))
