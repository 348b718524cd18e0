"""Pictures, at pixels chosen by hand."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from segkit.viz import draw, plots, text

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)
PALETTE = (RED, GREEN, BLUE)


def test_default_palette_begins_as_pascal_and_never_repeats():
    palette = draw.default_palette(300)
    assert palette[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert palette[20] == (0, 64, 128)  # tvmonitor; 20 = 0b010100: bit 2 -> blue 128, bit 4 -> green 64
    assert palette[15] == (192, 128, 128)  # person
    assert len(set(palette)) == 300


def test_colorize_by_hand():
    picture = draw.colorize(np.array([[0, 1], [2, 255]], np.uint8), PALETTE)
    assert picture.tolist() == [[list(RED), list(GREEN)], [list(BLUE), list(draw.IGNORED)]]
    other = draw.colorize(np.array([[-1, 1]], np.int16), PALETTE, ignore=-1)
    assert other.tolist() == [[list(draw.IGNORED), list(GREEN)]]


@pytest.mark.parametrize("label", [3, -2])
def test_a_label_without_color_is_named(label):
    with pytest.raises(ValueError, match=f"label {label} has no color: the palette has 3"):
        draw.colorize(np.array([[0, label]]), PALETTE)


def test_overlay_mixes_and_leaves_ignored_pixels():
    image = np.full((1, 3, 3), 100, np.uint8)
    picture = draw.overlay(image, np.array([[0, 2, 255]]), PALETTE, alpha=0.25)
    assert picture.tolist() == [[[125, 75, 75], [75, 75, 125], [100, 100, 100]]]
    assert (image == 100).all()
    with pytest.raises(ValueError, match="resize one of them"):
        draw.overlay(image, np.zeros((2, 3), int), PALETTE)


def test_to_rgb():
    assert draw.to_rgb(np.array([[7]], np.uint8)).tolist() == [[[7, 7, 7]]]
    assert draw.to_rgb(np.array([[[1, 2]]], np.uint8)).tolist() == [[[1, 1, 1]]]
    assert draw.to_rgb(np.array([[[1, 2, 3, 4, 5]]], np.uint8)).tolist() == [[[1, 2, 3]]]
    assert draw.to_rgb(np.array([[[1.4, 2.6, 255]]], np.float32)).tolist() == [[[1, 3, 255]]]
    wide = draw.to_rgb(np.array([[0, 1000, 4000]], np.uint16))
    assert wide[0, :, 0].tolist() == [0, 64, 255]


def test_draw_instances_on_a_large_image():
    image = np.zeros((400, 400, 3), np.uint8)
    masks = np.zeros((2, 400, 400), np.uint8)
    masks[0, 100:200, 100:200] = 1
    masks[1, 300:350, 300:380] = 1
    boxes = np.array([[100, 100, 200, 200], [300, 300, 380, 350]], np.float32)
    picture = draw.draw_instances(image, masks, [0, 2], boxes, [0.931, 0.5], ("a", "b", "c"), PALETTE)
    assert picture.shape == image.shape and (image == 0).all()
    assert picture[150, 150].tolist() == [100, 0, 0]  # inside: half the color
    assert picture[150, 100].tolist() == list(RED) and picture[199, 199].tolist() == list(RED)  # outline and box
    assert picture[150, 202].tolist() == [0, 0, 0]  # x1 is exclusive
    assert picture[325, 340].tolist() == [0, 0, 100]
    assert picture[97, 101].tolist() == list(RED)  # the tag stands on the box
    tag = picture[100 - 16 : 100, 100:150]
    assert (tag == text.PAPER).all(2).any()  # white letters on a dark color
    unscored = draw.draw_instances(image, masks, [0, 2], boxes, None, ("a", "b", "c"), PALETTE)
    assert not np.array_equal(picture, unscored)


def test_draw_instances_enlarges_small_images_and_takes_run_lengths():
    mask_utils = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((40, 80), np.uint8)
    mask[10:30, 20:60] = 1
    rle = mask_utils.encode(np.asfortranarray(mask))
    image = np.full((40, 80, 3), 50, np.uint8)
    picture = draw.draw_instances(image, [rle], np.array([1]))
    assert picture.shape == (160, 320, 3)  # 320 / 80 = 4
    # without a palette the colors of default_palette, its black left out: 0 -> (128, 0, 0), 1 -> (0, 128, 0)
    assert picture[80, 160].tolist() == [25, 25 + 64, 25]
    assert picture[20, 20].tolist() == [50, 50, 50]
    assert np.array_equal(picture, draw.draw_instances(image, mask[None], [1]))
    assert np.array_equal(draw.draw_instances(picture, None, []), picture)


def test_draw_clicks():
    mask = np.zeros((400, 400), np.uint8)
    mask[200:, :] = 1
    # the second positive and the first negative click are empty; (-3, 7) is a click
    clicks = np.array([[300, 100, 0], [-1, -1, -1], [-1, -1, -1], [100, 250, 1]], np.float32)
    picture = draw.draw_clicks(np.zeros((400, 400, 3), np.uint8), mask, clicks)
    assert picture[300, 100].tolist() == list(text.PAPER) and picture[297, 100].tolist() == list(text.PAPER)  # a plus
    assert picture[100, 250].tolist() == list(text.PAPER) and picture[97, 250].tolist() == list(
        draw.NEGATIVE
    )  # a minus
    assert picture[303, 103].tolist() == list(draw.POSITIVE)  # the disc of radius 400 / 60 beside the plus
    assert picture[350, 350].tolist() == [c // 2 for c in draw.CHOSEN] and picture[50, 50].tolist() == [0, 0, 0]
    assert (picture[0, 0] == 0).all()  # empty clicks draw nothing
    partly_outside = draw.draw_clicks(np.zeros((60, 60, 3), np.uint8), None, np.array([[-1, 30, 0], [-1, -1, -1]]))
    assert partly_outside[0, 30].tolist() == list(text.PAPER)


def test_legend_shows_every_color_in_lines_that_fit():
    names = [f"class {i}" for i in range(30)]
    palette = tuple((i * 8, 255 - i * 8, 7) for i in range(30))
    picture = draw.legend(names, palette, width=300)
    assert picture.shape[1] == 300 and picture.dtype == np.uint8
    colors = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
    assert set(palette) <= colors
    assert (picture[:, -2:] == 255).all()  # nothing is cut at the right
    assert draw.legend(names[:2], palette, width=300).shape[0] < picture.shape[0]


def test_grid_places_images_under_their_titles():
    a, b = np.full((20, 40, 3), RED, np.uint8), np.full((20, 40, 3), GREEN, np.uint8)
    picture = draw.grid([[a, b], [b, a]], titles=("left", "right"), captions=("one", "two"), cell=200)
    # gap 6, cells of 200 x 100, letters of 13, head 26, foot 23
    assert picture.shape == (26 + 2 * (100 + 23) + 6, 6 + 2 * 206, 3)
    assert picture[26 + 50, 6 + 100].tolist() == list(RED) and picture[26 + 50, 212 + 100].tolist() == list(GREEN)
    assert picture[26 + 123 + 50, 6 + 100].tolist() == list(GREEN)
    assert picture[26, 6].tolist() == list(RED) and picture[25, 6].tolist() == [255, 255, 255]
    assert (picture[:26] < 100).any() and (picture[26 + 100 : 26 + 123] < 150).any()  # letters
    with_legend = draw.grid([[a, b], [b, a]], classes=("x", "y", "z"), palette=PALETTE, cell=200)
    assert (with_legend[-40:] == BLUE).all(2).any()


def test_grid_fits_images_of_other_sizes_and_grey_ones():
    tall, grey = np.full((100, 50, 3), RED, np.uint8), np.full((100, 100), 9, np.uint8)
    picture = draw.grid([[grey, tall], [grey]], cell=100)
    assert picture.shape == (6 + 2 * 106 + 6, 6 + 2 * 106, 3)
    assert picture[56, 112 + 50].tolist() == list(RED)
    assert picture[56, 112 + 20].tolist() == [255, 255, 255]  # the tall one keeps its shape
    assert picture[56, 50].tolist() == [9, 9, 9] and picture[106 + 56, 112 + 50].tolist() == [255, 255, 255]
    with pytest.raises(ValueError, match="at least one image"):
        draw.grid([])


def test_long_captions_lose_their_beginning():
    font = text.letters(14)
    short = text.shortened("a/very/long/path/to/some/image_000123.png", font, 120)
    assert short.startswith("...") and short.endswith("0123.png") and font.getlength(short) <= 120
    assert text.shortened("short", font, 120) == "short"


def test_save_png_makes_folders_and_keeps_colors(tmp_path):
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = RED
    path = draw.save_png(tmp_path / "new" / "ä.png", image)
    assert np.array(Image.open(path)).tolist() == image.tolist()
    deep = np.array([[0, 60000]], np.uint16)
    assert np.array_equal(cv2.imread(str(draw.save_png(tmp_path / "deep.png", deep)), cv2.IMREAD_UNCHANGED), deep)
    assert [file.name for file in tmp_path.rglob("*.part")] == []
    with pytest.raises(ValueError, match=r"x\.png: a PNG holds uint8 or uint16, not float64"):
        draw.save_png(tmp_path / "x.png", np.zeros((2, 2)))


@pytest.mark.parametrize(
    "save",
    [
        lambda path: draw.save_png(path, np.zeros((2, 2), np.uint8)),
        lambda path: draw.save_label_png(path, np.zeros((2, 2), np.uint8), PALETTE),
        lambda path: plots.bars({"a": 1.0}, path),
    ],
)
def test_a_file_that_cannot_be_written_is_named(save, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/x\.png: cannot be written"):
        save(tmp_path / "file" / "x.png")


def test_save_label_png_holds_labels_and_palette(tmp_path):
    labels = np.array([[0, 1, 2], [255, 1, 0]], np.int64)
    path = draw.save_label_png(tmp_path / "labels.png", labels, PALETTE)
    picture = Image.open(path)
    assert picture.mode == "P" and np.array(picture).tolist() == labels.tolist()
    assert np.array(picture.convert("RGB"))[0].tolist() == [list(c) for c in PALETTE]
    assert tuple(np.array(picture.convert("RGB"))[1, 0]) == draw.IGNORED
    with pytest.raises(ValueError, match=r"0\.\.300.*uint16"):
        draw.save_label_png(tmp_path / "labels.png", np.array([[0, 300]]), PALETTE)


def read(path) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))


def test_confusion_plot_is_normalized_by_row(tmp_path):
    matrix = np.array([[990, 10, 0], [0, 5, 5], [0, 0, 0]])
    picture = read(plots.confusion_plot(matrix, ("a", "b", "c"), tmp_path / "c.png"))
    # the cells of "99 %" (dark blue) and of the empty row (grey) cover about a tenth and three tenths of the axes
    dark = (picture[..., 2] > picture[..., 0] + 60) & (picture[..., 0] < 30)
    grey = (picture == 0xCC).all(2)
    assert grey.sum() == pytest.approx(3 * 0.95 * dark.sum(), rel=0.25)
    with pytest.raises(ValueError, match="for 2 classes"):
        plots.confusion_plot(matrix, ("a", "b"), tmp_path / "c.png")


def test_confusion_plot_of_many_classes(tmp_path):
    picture = read(plots.confusion_plot(np.eye(150), [f"c{i}" for i in range(150)], tmp_path / "c.png"))
    assert max(picture.shape) < 2000


def bar_lengths(picture: np.ndarray) -> list[int]:
    """Longest run of bar-colored pixels of each bar from the top down."""
    blue = (picture == (0x00, 0x72, 0xB2)).all(2).sum(1)
    starts = np.flatnonzero((blue[1:] > 0) & (blue[:-1] == 0)) + 1
    return [int(blue[start + 3]) for start in starts]


def test_bars_are_as_long_as_their_values(tmp_path):
    path = plots.bars({"x": 80.0, "gone": float("nan"), "y": 20.0, "none": None}, tmp_path / "b.png", title="IoU")
    first, second = bar_lengths(read(path))
    assert first / second == pytest.approx(4, rel=0.03)
    with pytest.raises(ValueError, match="no values"):
        plots.bars({}, tmp_path / "b.png")


def test_curves_draw_a_panel_per_group(tmp_path):
    line = [(step, float(step)) for step in range(10)]
    one = read(plots.curves({"loss/ce": line, "loss/dice": line}, tmp_path / "one.png"))
    three = read(plots.curves({"loss/ce": line, "lr": line, "mIoU": line}, tmp_path / "three.png"))
    four = read(plots.curves(dict.fromkeys("abcd", line), tmp_path / "four.png"))
    assert three.shape[1] == pytest.approx(3 * one.shape[1], abs=4) and three.shape[0] == one.shape[0]
    assert four.shape[0] == pytest.approx(2 * one.shape[0], abs=2) and four.shape[1] == three.shape[1]
    with pytest.raises(ValueError, match="no records"):
        plots.curves({}, tmp_path / "none.png")


def test_smoothing_keeps_straight_lines_and_gaps():
    class Axes:
        def __init__(self):
            self.lines = []

        def plot(self, x, y, **style):
            self.lines.append(np.asarray(y))

    axes, steps = Axes(), np.arange(200.0)
    plots._curve(axes, np.stack([steps, 3 * steps], 1), "k", "line")
    assert np.allclose(axes.lines[1], 3 * steps)
    values = np.where(steps == 100, np.nan, 1.0)
    plots._curve(axes, np.stack([steps, values], 1), "k", "gap")
    assert np.isnan(axes.lines[3][100]) and np.allclose(np.delete(axes.lines[3], 100), 1)
