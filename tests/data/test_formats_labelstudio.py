"""Label Studio: a task that its converter wrote, the documented form, the brush code, and tasks that are wrong."""

import json

import numpy as np
import pytest

from segkit.data.formats.base import LabelledImage, Shape
from segkit.data.formats.bitmaps import code_of
from segkit.data.formats.brush_rle import decode_brush, encode_brush
from segkit.data.formats.labelstudio import LabelStudioReader, LabelStudioWriter
from segkit.files import DataError
from tests.data.labelled import FIXTURES, copied, drawn, picture

SIZE = (40, 60)
TRIANGLE = dict(points=[[10, 10], [50, 10], [50, 50]], polygonlabels=["cat"])


def result(kind="polygonlabels", value=TRIANGLE, **keys):
    return dict(id=keys.pop("id", "a"), type=kind, value=value, original_width=60, original_height=40) | keys


def written(tmp_path, *results, image="a.png", named=None, **keys):
    """A folder with an image and a task."""
    picture(tmp_path / image, SIZE)
    annotations = [dict(result=list(results), was_cancelled=False)]
    task = dict(id=5, data=dict(text="hello", image=named or f"/data/upload/1/{image}"), annotations=annotations)
    (tmp_path / "export.json").write_text(json.dumps([task | keys]))
    return tmp_path


def test_a_task_of_the_converter(tmp_path):
    copied("labelstudio", tmp_path)
    (tmp_path / "mask.npy").unlink()
    picture(tmp_path / "images" / "a.png", SIZE)
    assert LabelStudioReader.sniff(tmp_path) == "1 of 1 files *.json looked at hold tasks of Label Studio"
    reader = LabelStudioReader.open(tmp_path)
    assert reader.classes == ("cat",) and not reader.lost and not reader.notes
    (shape,) = reader.item(0).shapes
    mask = np.load(FIXTURES / "labelstudio" / "mask.npy")
    assert mask.sum() > 400 and (drawn(shape, SIZE) == mask).all()


def test_json_min(tmp_path):
    """Regions stand under the names of their controls and state their form by the name of their labels alone."""
    picture(tmp_path / "a.png", SIZE)
    sizes = dict(original_width=60, original_height=40)
    box = dict(x=0, y=0, width=50, height=50, rotation=0, rectanglelabels=["dog"]) | sizes
    point = dict(x=5, y=5, keypointlabels=["nose"]) | sizes
    mask = np.zeros(SIZE, bool)
    mask[30:35, 10:20] = True
    brush = dict(format="rle", rle=encode_brush(mask), brushlabels=["sky"]) | sizes
    task = dict(image="/data/upload/1/8b9f1c2a-a.png", id=5, annotator=1, annotation_id=7, lead_time=2.5, choice="good")
    entries = [
        task | dict(label=[box]),
        task | dict(annotation_id=8, label=[TRIANGLE | sizes, point, box], brush=[brush]),
    ]
    (tmp_path / "export.json").write_text(json.dumps(entries))
    assert LabelStudioReader.sniff(tmp_path) == "1 of 1 files *.json looked at hold tasks of Label Studio"
    reader = LabelStudioReader.open(tmp_path)
    assert reader.classes == ("cat", "dog", "sky") and len(reader) == 1
    assert reader.lost == {"points": 1, "further annotations of a task, of which the last counts": 1}
    cat, dog, sky = reader.item(0).shapes
    assert cat.outlines[0].tolist() == [[6, 4], [30, 4], [30, 20]] and dog.box == (0, 0, 30, 20)
    assert (drawn(sky, SIZE) == mask).all()
    # the form of the documentation, without sizes and numbers; then an annotation without a region
    (tmp_path / "export.json").write_text(json.dumps([dict(image="a.png", tag=[dict(box, original_width=None)])]))
    with pytest.raises(DataError, match="task 1: the width = None"):
        LabelStudioReader.open(tmp_path)
    bare = {key: value for key, value in box.items() if not key.startswith("original")}
    (tmp_path / "export.json").write_text(json.dumps([dict(image="a.png", tag=[bare])]))
    assert LabelStudioReader.open(tmp_path).item(0).shapes[0].box == (0, 0, 30, 20)
    (tmp_path / "export.json").write_text(json.dumps([task, dict(image="a.png", id=6, tag=[bare])]))
    with pytest.raises(DataError, match=r"a\.png"):
        LabelStudioReader.open(tmp_path)


def test_codes_come_back():
    rng = np.random.default_rng(1)
    for size, share in (((40, 60), 0.5), ((1, 1), 1), ((300, 400), 0.001), ((7, 3), 0), ((200, 200), 1)):
        mask = rng.random(size) < share
        assert (decode_brush(encode_brush(mask), size, "a") == mask).all()
    code = json.loads((FIXTURES / "labelstudio" / "tasks.json").read_text())[0]["annotations"][0]["result"][0]
    mask = np.load(FIXTURES / "labelstudio" / "mask.npy")
    assert encode_brush(mask) == code["value"]["rle"][: len(encode_brush(mask))]  # theirs may end with a zero more


def test_words_one_by_one():
    """Two pixels of (9, 8, 7, 0) and (1, 2, 3, 4): a block of eight words that are not repeated, in sizes of 4 bits."""
    digits = f"{8:032b}{7:05b}" + "0011" * 4 + "0" + "00" + f"{7:04b}"
    digits += "".join(f"{word:08b}" for word in (9, 8, 7, 0, 1, 2, 3, 4))
    digits += "0" * (-len(digits) % 8)
    code = [int(digits[i : i + 8], 2) for i in range(0, len(digits), 8)]
    assert decode_brush(code, (1, 2), "a").tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ([0, 0], "ends after 2 bytes"),
        ([255] * 40, "it has 4294967295 words, not 4 for each pixel"),
        (encode_brush(np.ones((2, 3), bool)), "it has 24 words"),
        (encode_brush(np.ones((2, 2), bool))[:-2], "ends after"),
        ([0, 0, 0, 16, 63, 255, 255, 255, 255], "beyond its 16 words|ends after"),
        ([0, 256], "bytes must be in range"),
        ("abc", "no list of bytes"),
        ([1.5], "cannot be interpreted"),
    ],
)
def test_broken_codes_are_refused(code, words):
    with pytest.raises(DataError, match=f"x.json, task 1: the brush mask .*2x2.*{words}"):
        decode_brush(code, (2, 2), "x.json, task 1")


def test_the_documented_form(tmp_path):
    box = dict(x=10, y=20, width=50, height=25, rectanglelabels=["dog", "big"])
    turned = dict(x=50, y=50, width=10, height=5, rotation=90, rectanglelabels=["dog"])
    ellipse = dict(x=50, y=50, radiusX=10, radiusY=10, rotation=0, ellipselabels=["ball"])
    form = dict(format="rle", rle=encode_brush(np.eye(40, 60)))
    reader = LabelStudioReader.open(written(
        tmp_path, result(), result("rectanglelabels", box, id="b"), result("rectanglelabels", turned, id="c"),
        result("ellipselabels", ellipse, id="d"), result("brush", form, id="e"),
        result("labels", form | dict(labels=["line"]), id="e"), result("keypointlabels", {}, id="f"),
        result("choices", dict(choices=["sharp"]), id="g"), dict(type="relation", from_id="a", to_id="b"),
        result("polygon", dict(points=[[1, 1], [2, 2], [3, 1]]), id="h"),
        result(value=dict(points=[[1, 1]], polygonlabels=["cat"]), id="i"),
        result(value=TRIANGLE, id="j", image_rotation=90),
        predictions=[{"result": [result()]}],
    ))  # fmt: skip
    assert reader.classes == ("ball", "cat", "dog", "line") and reader.lost == {
        "points": 1, "answers that are no regions": 1, "relations": 1, "regions without a label": 1, "predictions": 1,
        "outlines of fewer than 3 corners": 1, "regions on images that were turned while labelling": 1,
        "further labels of a region": 1,
    }  # fmt: skip
    cat, dog, slanted, ball, line = reader.item(0).shapes
    assert cat.outlines[0].tolist() == [[6, 4], [30, 4], [30, 20]]  # percent of 60 and 40 pixels
    assert dog.box == (6, 8, 36, 18)
    # 6 wide and 2 high, turned by a right angle around its upper left corner (30, 20)
    assert slanted.outlines[0] == pytest.approx(np.array([[30, 20], [30, 26], [28, 26], [28, 20]]))
    assert drawn(ball, SIZE).sum() == pytest.approx(np.pi * 6 * 4, rel=0.06)
    assert (drawn(line, SIZE) == np.eye(40, 60)).all()


def test_the_last_annotation_counts(tmp_path):
    other = result(value=TRIANGLE | dict(polygonlabels=["dog"]))
    annotations = [dict(result=[result()]), dict(result=[other]), dict(result=[], was_cancelled=True)]
    reader = LabelStudioReader.open(written(tmp_path, annotations=annotations))
    assert [shape.label for shape in reader.item(0).shapes] == ["dog"] and reader.classes == ("dog",)
    assert reader.lost == {"further annotations of a task, of which the last counts": 1, "cancelled annotations": 1}


def test_predictions_are_no_labels(tmp_path):
    reader = LabelStudioReader.open(written(tmp_path, annotations=[], predictions=[{"result": [result()]}]))
    item = reader.item(0)
    assert (
        not reader.is_labelled(0)
        and not item.is_labelled
        and item.shapes == ()
        and item.size == SIZE
        and reader.classes == ()
    )
    assert reader.lost == {"predictions": 1} and "1 tasks have no annotation" in reader.notes
    labelled = LabelStudioReader.open(written(tmp_path))
    assert labelled.item(0).is_labelled and labelled.item(0).shapes == ()


@pytest.mark.parametrize(
    "named",
    ["/data/upload/3/8b9f1c2a-my%20cat.png", "/data/local-files/?d=set%2Fmy%20cat.png", "s3://bucket/x/my cat.png",
     "https://a.b/c/my%20cat.png?X-Amz-Signature=1", "C:\\x\\my cat.png", "my cat.png"],
)  # fmt: skip
def test_images_are_found(tmp_path, named):
    reader = LabelStudioReader.open(written(tmp_path, result(), image="set/my cat.png", named=named))
    assert reader.images == [tmp_path / "set" / "my cat.png"]


def test_a_name_that_leads_out_is_not_followed(tmp_path):
    picture(tmp_path / "secret.png", SIZE)
    folder = written(tmp_path / "set", result(), named="/data/local-files/?d=../secret.png")
    with pytest.raises(DataError, match="no labelled image below"):
        LabelStudioReader.open(folder)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (result(value=dict(points=[[1, 1], [float("nan"), 2], [3, 3]], polygonlabels=["cat"])), "corner is not finite"),
        (result(value=dict(points=[[1, 1], [1], [3, 3]], polygonlabels=["cat"])), r"corner 2 is \[1\]"),
        (result(value=TRIANGLE | dict(polygonlabels=[3])), "the label 3 is no name"),
        (result("brushlabels", dict(rle=[0], format="png", brushlabels=["cat"])), "in the format 'png'"),
        (result("brushlabels", dict(rle=[0], format="rle", brushlabels=["cat"])), "result 1 .*cannot be drawn"),
        (result("rectanglelabels", dict(x=1, y=None, rectanglelabels=["cat"])), "y = None must be"),
        (result(original_width=0), "width 0 are no size"),
        (result(value=3), "value: 3 where an object"),
        (7, "result, entry 1: 7 where an object"),
    ],
)
def test_wrong_results_are_named(tmp_path, row, words):
    with pytest.raises(DataError, match=f"export.json, task 5.*{words}"):
        LabelStudioReader.open(written(tmp_path, row)).item(0)


def test_wrong_tasks_are_named(tmp_path):
    with pytest.raises(DataError, match="task 5: regions of images of several sizes"):
        LabelStudioReader.open(written(tmp_path, result(), result(original_width=61, id="b")))
    with pytest.raises(DataError, match=r"task 5: none of its data .* is the path of an image"):
        LabelStudioReader.open(written(tmp_path, data=dict(text="a", number=3)))


def test_there_and_back(tmp_path):
    mask = np.random.default_rng(0).random(SIZE) < 0.3
    square = np.array([[5.0, 5], [15, 5], [15, 15], [5, 15]])
    far = np.array([[30.5, 5.25], [40, 5], [40, 15]])
    shapes = (Shape("cat", mask=code_of(mask)), Shape("dog", (far,)), Shape("box", box=(1.5, 2.0, 30.25, 20.0)),
              Shape("ring", (square,), (square / 2 + 5,)), Shape("cat", (square, far)))  # fmt: skip
    writer = LabelStudioWriter(tmp_path, ("box", "cat", "dog", "ring"))
    for name in ("train/a b.png", "train/c.png"):
        picture(tmp_path / "images" / name, SIZE)
    writer.add(LabelledImage(tmp_path / "x.png", SIZE, shapes), "train/a b.png")
    writer.add(LabelledImage(tmp_path / "x.png", SIZE, is_labelled=False), "train/c.png")
    done = writer.close()
    assert done.objects == 5 and dict(done.lost) == {
        "corners of objects of several pieces or with holes, written as masks": 2
    }  # fmt: skip
    assert '<Label value="ring"/>' in (tmp_path / "label_config.xml").read_text()
    reader = LabelStudioReader.open(tmp_path)
    assert reader.classes == ("box", "cat", "dog", "ring") and not reader.lost
    back = reader.item(0).shapes
    assert [shape.label for shape in back] == [shape.label for shape in shapes]
    for given, found in zip(shapes, back):
        assert (drawn(given, SIZE) == drawn(found, SIZE)).all()
    assert back[1].outlines[0] == pytest.approx(far) and back[2].box == pytest.approx(shapes[2].box)
    assert not reader.item(1).is_labelled
