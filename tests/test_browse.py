"""The grid of samples before and after augmentation."""

import numpy as np
import pytest
from PIL import Image

from segkit.cli import browse
from segkit.data.semantic.shapes import PALETTE, Shapes
from segkit.registry import ConfigError

CONFIG = """
model = dict(num_classes=6, backbone=dict(type="tests.tiny:TinyBackbone"), head=dict(type="tests.tiny:TinyHead"))
train = dict(batch_size=2, dataset=dict(type="Shapes", size=(64, 64), length=20),
             transforms=[dict(type="tests.test_browse:Mirror")])
val = dict(dataset=dict(type="Shapes", split="val", size=(64, 64), length=3, instances=False),
           transforms=[dict(type="tests.test_browse:Half")])
test = dict(first=dict(dataset=dict(type="Shapes", split="test", size=(32, 64), length=1)))
"""


class Mirror:
    """Turns image, mask and objects left to right, drops what it does not turn."""

    def __call__(self, sample, rng):
        rng.random()
        return dict(image=sample["image"][:, ::-1], mask=sample["mask"][:, ::-1], meta=sample["meta"])


class Half:
    """The image at half its size; fails where it sees labels."""

    def __call__(self, sample, rng):
        assert set(sample) == {"image", "meta"}
        return dict(image=sample["image"][::2, ::2], meta=dict(sample["meta"], valid=(32, 32)))


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)
    return str(tmp_path / "config.py")


def test_training_samples(config, tmp_path, capsys):
    out = tmp_path / "new" / "browse.png"
    assert browse.main([config, "--count", "3", "--out", str(out), "--cell", "64"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    picture = np.array(Image.open(out))
    # cells of 64 x 64 at a head of 26, gaps of 6 and a foot of 23: the images appear pixel by pixel
    dataset = Shapes(size=(64, 64), length=20)
    for row, index in enumerate((0, 10, 19)):  # spread evenly: 9.5 is rounded to the even neighbour
        y = 26 + row * 87
        image = dataset.image(index)
        assert np.array_equal(picture[y : y + 64, 6:70], image)
        assert np.array_equal(picture[y : y + 64, 6 + 140 : 70 + 140], image[:, ::-1])


def test_evaluation_transforms_see_the_image_alone(config, tmp_path):
    out = tmp_path / "val.png"
    assert browse.main([config, "--split", "val", "--count", "9", "--out", str(out), "--cell", "64"]) == 0
    picture = np.array(Image.open(out))
    assert picture.shape[0] > 26 + 3 * 87  # three images, though nine are asked for
    image, mask = (getattr(Shapes("val", size=(64, 64)), name)(0) for name in ("image", "mask"))
    label = mask[mask > 0][0]
    y, x = np.argwhere(mask == label)[len(np.argwhere(mask == label)) // 2]
    expected = (image[y, x].astype(int) + PALETTE[label]) / 2
    assert np.abs(picture[26 + y, 6 + 70 + x] - expected).max() <= 1


def test_the_first_of_several_test_sets_and_options(config, tmp_path):
    out = str(tmp_path / "test.png")
    assert browse.main([config, "--split", "test", "--out", out, "--cfg-options", "test.first.dataset.seed=4"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--count", "0"], "--count 0 --cell 280: the count must be 1 or more"),
        (
            ["--out", "/dev/null/x.png"],
            "/dev/null/x.png: cannot be written (a part of this path is a file)",
        ),
        (["--cfg-options", "train.dataset.split=trian"], "did you mean 'train'"),
    ],
)
def test_errors_are_one_sentence(config, capsys, arguments, words):
    assert browse.main([config, *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error


def test_a_section_that_is_not_there(config, tmp_path, capsys):
    (tmp_path / "config.py").write_text(CONFIG.partition("val =")[0])
    assert browse.main([config, "--split", "val"]) == 2
    assert "has no section `val`" in capsys.readouterr().err


def test_click_targets_layers_and_labels_without_a_class():
    image, meta = np.full((400, 400, 3), 60, np.uint8), dict(id="a", path="a.png", size=(400, 400))
    target = np.zeros((400, 400), np.float32)
    target[:200] = 1
    target[300:] = -1
    clicks = np.array([[100, 100, 0], [-1, -1, -1]], np.float32)
    picture = browse.drawn(dict(image=image, mask=target, clicks=clicks, meta=meta), ("object",), PALETTE)
    assert picture[100, 100].tolist() == [255, 255, 255] and picture[250, 9].tolist() == [60, 60, 60]
    assert picture[9, 9].tolist() == [30 + 43, 30 + 90, 30 + 116] and picture[350, 9].tolist() == [60, 60, 60]
    layers = np.zeros((400, 400, 2), np.uint8)
    layers[:9, :9, 0], layers[:5, :5, 1] = 1, 2
    picture = browse.drawn(dict(image=image, layers=layers, meta=meta), (), ())
    assert picture[7, 7].tolist() == [94, 30, 30] and picture[2, 2].tolist() == [30, 94, 30]
    assert picture[20, 20].tolist() == [60, 60, 60]
    with pytest.raises(ConfigError, match=r"a\.png: label 9 has no color"):
        browse.drawn(dict(image=image, mask=np.full((400, 400), 9, np.uint8), meta=meta), (), PALETTE)
