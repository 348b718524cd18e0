"""The page of `segkit test`: its numbers, its pictures, what it escapes, its size, and how a browser shows it."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from segkit import dist
from segkit.cli.main import main
from segkit.engine.run_log import read_steps, read_training
from segkit.engine.worst import WorstMaps
from segkit.readers.python_config import dump
from segkit.runners.instances.worst import WorstInstances
from segkit.runners.interactive.worst import WorstClicks, around
from segkit.runners.page import ResultPage, within
from segkit.types import default_palette
from segkit.viz.errors import RIGHT, WRONG, encoded, error_map
from segkit.viz.page import charts, tables
from segkit.viz.page.glossary import direction, meaning
from segkit.viz.page.html import Markup, escaped, number, tag
from segkit.viz.page.records import Card, Facts, Picture, ScoredSet, WorstImages
from segkit.viz.page.sheet import page
from tests.browser.chromium import EXECUTABLE, Browser
from tests.tiny import sections

NASTY = ("<script>alert(1)</script>", "a \"quoted\" 'name' & more", "x" * 60)


class Elements(HTMLParser):
    """Collects the elements of a page, and the text of its scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inner: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.found.append((name, dict(attributes)))

    def handle_data(self, data):
        if self.found and self.found[-1][0] in self.inner and self.cdata_elem == self.found[-1][0]:
            self.inner[self.found[-1][0]].append(data)

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.found if found == name]


def dataset(num_classes: int, ignore: int = 255, **more) -> SimpleNamespace:
    names = tuple(f"class {k}" for k in range(num_classes))
    return SimpleNamespace(classes=names, palette=default_palette(num_classes), ignore=ignore, **more)


def batch(truths: list[np.ndarray], names: list[str]) -> dict:
    shapes = [truth.shape[-2:] for truth in truths]
    image = torch.full((len(truths), 3, *np.max(shapes, 0)), 90, dtype=torch.uint8)
    metas = [dict(id=name, size=shape, valid=shape) for name, shape in zip(names, shapes)]
    return dict(image=image, mask=[torch.from_numpy(truth) for truth in truths], meta=metas)


def followed(worst, predictions: list[dict], *arguments) -> WorstImages:
    worst.after_batch(None, predictions, batch(*arguments))
    return worst.result()


def scored_set(num_classes: int, worst: WorstImages | None = None, **scores) -> ScoredSet:
    rng = np.random.default_rng(0)
    matrix = rng.integers(1, 1000, (num_classes, num_classes))
    names = tuple(f"class number {k}" for k in range(num_classes))
    rows = {name: {"IoU": float(k), "Acc": None} for k, name in enumerate(names)}
    numbers = {"mIoU": 61.2345, "images": 2, "per_class": rows, **scores}
    return ScoredSet("Set", names, default_palette(num_classes), numbers, ("mIoU",), (), matrix, worst)


def test_text_is_escaped_and_markup_is_not():
    assert escaped("<b>&\"'") == "&lt;b&gt;&amp;&quot;&#x27;" and escaped(Markup("<b>")) == "<b>"
    assert tag("p", {"title": '"x', "open": True, "id": None}, "a<", tag("b", {}, 3)) == (
        '<p title="&quot;x" open>a&lt;<b>3</b></p>'
    )
    # half of a surrogate pair, as a file's name may hold, and a control character
    assert escaped("a\udc80\x00b") == "a\ufffd\ufffdb"


def test_numbers_as_text():
    shown = [number(value) for value in (None, float("nan"), 1234567, 61.2345, 0.0, 0.00012)]
    assert shown == ["\u2013", "\u2013", "1,234,567", "61.23", "0.00", "0.00012"]


def test_axes():
    assert charts.axis(np.array([0.0, 120.0]), 5).ticks == (0, 50, 100, 150)
    assert charts.axis(np.array([3.0, 3.0]), 5).low < 3 < charts.axis(np.array([3.0, 3.0]), 5).high
    assert charts.axis(np.array([0.0, 2.0]), 5, whole=True).ticks == (0, 1, 2)
    assert [charts.tick_text(value) for value in (0, 20_000, 0.002, 0.00002)] == ["0", "20k", "0.002", "2e-5"]


def test_a_curve_has_gaps_where_a_value_is_missing():
    drawn = charts.line_chart("loss", {"a": [(0, 1.0), (1, float("nan")), (2, 2.0), (3, 3.0)]}, x_label="step")
    (path,) = re.findall(r'class="s c0" d="([^"]+)"', drawn)
    assert path.count("M") == 2 and path.count("L") == 1
    assert charts.line_chart("loss", {"a": [(0, float("inf"))]}, x_label="step") == ""
    assert len(charts.thinned([(k, k) for k in range(10_000)])) == charts.MOST_POINTS


def test_the_most_confused_pairs():
    matrix = np.array([[90, 10, 0], [30, 60, 10], [0, 0, 50]])
    shown = re.findall(r'data-v="([^"]*)"', tables.confused_pairs(matrix, ("a", "b", "c")))
    # 30 of the 100 pixels of b became a: 60 % of all 50 errors
    assert shown[:5] == ["b", "a", "30", "30.0", "60.0"] and shown[5:8] == ["a", "b", "10"]
    assert tables.confused_pairs(np.diag([3, 4]), ("a", "b")) == ""


@pytest.mark.parametrize("num_classes", [1, 2, 150])
def test_any_number_of_classes(num_classes):
    text = page(Facts("Test"), [scored_set(num_classes)])
    elements = Elements(text)
    assert len(text) < 2_500_000
    assert ("upright" in text.partition("<body>")[2]) == (num_classes > 12)
    assert ("Confusion" in text) == (num_classes > 1)
    assert sum(1 for attributes in elements.of("th") if attributes.get("scope") == "row") >= num_classes


def test_the_page_holds_nothing_but_itself_and_escapes_names():
    picture = Picture("image", encoded(np.zeros((8, 8, 3), np.uint8)), 8, 8)
    name = "dir/im\"age' <img src=x onerror=alert(1)>.png"
    worst = WorstImages(
        "Worst images", "by mIoU", (("right", RIGHT), ("ignored", None)), [Card((0.0,), name, "", (picture,))]
    )
    scores = {"mIoU": 50.0, "images": 1, "per_class": {key: {"IoU": 1.0} for key in NASTY}}
    found = ScoredSet("<u>set", NASTY, default_palette(3), scores, ("mIoU",), (), np.ones((3, 3), int), worst)
    facts = Facts("</title><script>", commands=[("do", "segkit test '</pre>'")], config=[("a.b", "'</td>'", "<file>")])
    text = page(facts, [found])
    elements = Elements(text)
    assert len(elements.of("script")) == len(elements.of("style")) == 1 and not elements.of("u")
    assert not any(key.startswith("on") for _, attributes in elements.found for key in attributes)
    assert not any("style" in attributes for _, attributes in elements.found)
    policy = next(a["content"] for a in elements.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; ") and "unsafe" not in policy
    addresses = [a.get(key) for _, a in elements.found for key in ("src", "href", "action") if a.get(key)]
    assert addresses and all(address.startswith(("data:image/", "#")) for address in addresses)
    targets = {attributes["id"] for _, attributes in elements.found if attributes.get("id")}
    assert all(address[1:] in targets for address in addresses if address.startswith("#"))
    assert any(attributes.get("alt") == f"{name}: image" for attributes in elements.of("img"))


def test_policies_name_what_is_allowed_to_run():
    import hashlib

    text = page(Facts("Test"), [])
    elements = Elements(text)
    policy = next(a["content"] for a in elements.of("meta") if a.get("http-equiv"))
    for kind in ("script", "style"):
        content = "".join(elements.inner[kind])
        expected = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{expected}'" in policy


def test_the_worst_maps_come_first_and_unlabelled_images_are_left_out():
    truth = np.zeros((4, 6), np.uint8)
    truth[:, 3:] = 1
    half, wrong = truth.copy(), 1 - truth
    half[:, 3] = 0
    unlabelled = np.full((4, 6), 255, np.uint8)
    predictions = [dict(labels=torch.from_numpy(labels)) for labels in (truth, wrong, half, truth)]
    worst = WorstMaps(dataset(3), count=2)
    found = followed(worst, predictions, [truth, truth, truth, unlabelled], ["right", "wrong", "half", "none"])
    assert [card.name for card in found.cards] == ["wrong", "half"] and found.unscored == 1
    # half: class 0 has 12 of 16 pixels, class 1 has 8 of 12
    assert found.values == pytest.approx([0, 100 * (12 / 16 + 8 / 12) / 2, 100])
    assert [(note.name, note.text) for note in found.cards[1].classes] == [("class 1", "67"), ("class 0", "75")]
    assert [picture.title for picture in found.cards[0].pictures] == ["image", "truth", "prediction", "error"]


def test_the_error_picture_tells_right_wrong_and_ignored_pixels_apart():
    truth = np.array([[0, 0, 1, 255]] * 2, np.uint8)
    labels = torch.tensor([[0, 1, 1, 1]] * 2)
    found = followed(WorstMaps(dataset(2), count=1), [dict(labels=labels)], [truth], ["x"])
    data = found.cards[0].pictures[3].data
    error = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    right, wrong, _, ignored = error[0]
    assert right[2] > right[0] + 20 and wrong[0] > wrong[2] + 100 and ignored[0] == ignored[1] == ignored[2]
    faded = 120 + 0.53 * 90
    assert wrong == pytest.approx(0.15 * faded + 0.85 * np.array(WRONG), abs=1)
    assert error_map(np.zeros((2, 2, 3)), ignored=np.zeros((2, 2), bool)).tolist() == [[[120] * 3] * 2] * 2


def test_maps_of_overlapping_classes_and_another_ignore_value():
    truth = np.array([[[1, 1, 0, 255]], [[1, 0, 0, 255]]], np.uint8)
    positive = torch.tensor([[[1, 0, 0, 1]], [[1, 1, 0, 0]]], dtype=torch.bool)
    found = followed(WorstMaps(dataset(2), count=3), [dict(positive=positive)], [truth], ["x"])
    assert found.values == pytest.approx([50]) and len(found.cards) == 1
    ignored_zero = followed(
        WorstMaps(dataset(3, ignore=0), count=3),
        [dict(labels=torch.tensor([[1, 2, 2]]))],
        [np.array([[1, 0, 1]], np.uint8)],
        ["x"],
    )
    assert ignored_zero.values == pytest.approx([25])


def test_large_pictures_are_shrunk_and_cut_to_the_room_there_is():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (900, 1200)).astype(np.uint8)
    found = followed(WorstMaps(dataset(2), count=1), [dict(labels=torch.from_numpy(truth))], [truth], ["x"])
    assert {(picture.width, picture.height) for picture in found.cards[0].pictures} == {(480, 360)}
    size = sum(len(picture.data) for picture in found.cards[0].pictures)
    many = found._replace(cards=[found.cards[0]] * 4)
    assert len(within(many, 2 * size).cards) == 2 and len(within(many, size - 1).cards) == 0


def test_the_worst_objects_by_clicks():
    truth = np.zeros((120, 160), np.int32)
    truth[40:60, 50:80], truth[0] = 1, -1
    found_of = [
        dict(labels=(truth == 1).astype(np.uint8), clicks=np.array([[50.0, 60, 1]], np.float32), ious=np.array([1.0])),
        dict(
            labels=np.zeros((120, 160), np.uint8),
            clicks=np.array([[50.0, 60, 1], [5, 5, 0]], np.float32),
            ious=np.array([0.25, 0.5], np.float32),
        ),
    ]
    found = followed(WorstClicks(dataset(2), 5), found_of, [truth, truth], ["easy", "hard"])
    assert [card.name for card in found.cards] == ["hard", "easy"]
    assert found.cards[0].curve == (25.0, 50.0) and found.cards[0].note.startswith("2 clicks, IoU 50.0 after the last")
    # the object with 40 percent on each side, at least 96 pixels
    assert around(truth == 1, np.zeros((0, 3))) == (2, 98, 17, 113)


def test_the_worst_instances_by_what_was_found():
    from pycocotools import mask as coco_mask

    def encoded_box(x0: int) -> dict:
        mask = np.zeros((20, 40), np.uint8, order="F")
        mask[5:15, x0 : x0 + 10] = 1
        return coco_mask.encode(mask)

    rows = [dict(image_id=i, category_id=1, bbox=[0, 5, 10, 10], segmentation=encoded_box(0)) for i in (1, 2)]
    annotations = dict(
        images=[dict(id=i, height=20, width=40) for i in (1, 2, 3)],
        categories=[dict(id=1, name="class 0")],
        annotations=rows,
    )
    nothing = dict(masks=[], scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.int64), boxes=torch.zeros(0, 4))
    both = dict(
        masks=[encoded_box(0), encoded_box(20)],
        scores=torch.tensor([0.9, 0.8]),
        labels=torch.tensor([0, 0]),
        boxes=torch.tensor([[0.0, 5, 10, 15], [20, 5, 30, 15]]),
    )
    worst = WorstInstances(dataset(1, annotations=annotations), 5)
    images = [np.zeros((20, 40), np.uint8)] * 3
    found = followed(worst, [both, nothing, nothing], images, ["1", "2", "3"])
    assert [card.name for card in found.cards] == ["2", "1"] and found.unscored == 1
    assert found.values == pytest.approx([0, 200 / 3])
    assert found.cards[1].note == "F1 66.7: 1 found, 0 missed, 1 wrong"


def test_images_of_all_processes_are_one_list(monkeypatch):
    truth = np.zeros((2, 2), np.uint8)
    worst = WorstMaps(dataset(2), count=2)
    worst.after_batch(None, [dict(labels=torch.from_numpy(truth))], batch([truth], ["good"]))
    other = Card((0.0, 0.0), "bad", "", ())
    monkeypatch.setattr(dist, "gather_objects", lambda value: [value, ([other], [0.0], 3)])
    found = worst.result()
    assert [card.name for card in found.cards] == ["bad", "good"] and found.values == [0, 100] and found.unscored == 3


def test_a_process_that_is_not_the_main_one_writes_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(dist, "is_main", lambda: False)
    ResultPage(tmp_path / "report.html", 1).write(None, None, None, print)
    assert not list(tmp_path.iterdir())


def test_the_log_of_a_run(tmp_path):
    lines = [
        dict(step=1, stage=0, loss=2.0, ce=1.5, dice=0.5, lr=0.1, seconds_per_step=1, data_share=0, grad_norm=9),
        dict(step=2, stage=0, loss=1.0, ce=0.75, dice=float("nan"), lr=0.05),
        dict(step=2, stage=0, val={"mIoU": 40.0, "images": 3}),
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 3, "lo')
    training = read_training(tmp_path, "mIoU", lower_is_better=False)
    assert list(training.losses) == ["loss", "ce", "dice"] and training.losses["ce"] == [(1, 1.5), (2, 0.75)]
    assert training.rates == [(1, 0.1), (2, 0.05)] and training.scores == {"mIoU": [(2, 40.0)]}
    assert read_training(tmp_path / "none", "mIoU", lower_is_better=False) is None
    step = tmp_path / "step1"
    step.mkdir()
    (tmp_path / "metrics.json").write_text('{"steps": [{"step": 0, "mIoU_old": 3}, "x"]}')
    assert read_steps(step) == [{"step": 0, "mIoU_old": 3}] and read_steps(tmp_path) == ()


def test_every_usual_score_is_explained():
    names = ["mIoU", "aAcc", "segm.AP50", "samplewise.Specificity", "NoC@90", "mIoU@5", "mIoU_all_with_background"]
    assert all(meaning(name) for name in names) and meaning("a score of mine") == ""
    assert direction("NoC@90", ("NoC@*",)) == "lower" and direction("mIoU", ("NoC@*",)) == "higher"
    assert direction("images", ()) == ""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A trained run of seconds, tested once with its page."""
    folder = tmp_path_factory.mktemp("page")
    cfg = sections(eval_every=3)
    cfg["test"] = dict(workers=0, dataset=dict(type="Shapes", size=(32, 32), length=3, split="test"))
    (folder / "tiny.py").write_text(dump(cfg))
    assert main(["train", str(folder / "tiny.py"), "--work-dir", str(folder / "out"), "--device", "cpu"]) == 0
    assert main(["test", str(folder / "out/last.pt"), "--trust", "--device", "cpu"]) == 0
    return folder / "out"


def test_the_numbers_are_those_of_the_scores(run):
    scores, text = json.loads((run / "metrics.json").read_text()), (run / "report.html").read_text()
    assert f'<div class="tile"><b>{scores["mIoU"]:.2f}</b><span>mIoU</span></div>' in text
    for name in ("mIoU", "mDice", "aAcc", "fwIoU"):
        assert f'<th scope="row" data-v="{name}">{name}</th><td class="number" data-v="{scores[name]}">' in text
    for row in scores["per_class"].values():
        if row["IoU"] is not None:
            assert f'data-v="{row["IoU"]}">{row["IoU"]:.2f}</td>' in text
    assert len(re.findall("<article", text)) == 3 and "Validation: mIoU" in text and "Learning rate" in text
    assert "train.batch_size" in text and f"segkit test {run / 'last.pt'}" in text and "segkit predict" in text
    assert f"segkit train {run / 'config.py'}" in text and torch.__version__ in text


def test_from_within_the_folder_of_the_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run)
    out = tmp_path / "metrics.json"
    assert main(["test", "last.pt", "--trust", "--device", "cpu", "--out", str(out)]) == 0
    text = (tmp_path / "report.html").read_text()
    assert "segkit train config.py --work-dir work_dirs/out_again" in text and "From log.jsonl." in text
    assert "<h1>Test of out/last.pt</h1>" in text and "segkit predict last.pt IMAGES --out predictions" in text


def test_a_set_of_one_image_several_sets_and_no_page(run, tmp_path):
    words = ["test", str(run / "last.pt"), "--trust", "--device", "cpu", "--out"]
    one, words = [*words, str(tmp_path / "one.json")], [*words, str(tmp_path / "metrics.json")]
    assert main([*one, "--no-page", "--cfg-options", "test.dataset.length=1"]) == 0
    assert not list(tmp_path.glob("*.html"))
    assert main([*one, "--cfg-options", "test.dataset.length=1"]) == 0
    assert (tmp_path / "one.html").read_text().count("<article") == 1  # a name of its own beside a second test's
    part = dict(dataset=dict(type="Shapes", size=(32, 32), length=2, split="test"), workers=0)
    (tmp_path / "two.py").write_text(dump({**sections(), "test": dict(a=part, b=part)}))
    assert main([*words, "--config", str(tmp_path / "two.py")]) == 0
    text = (tmp_path / "report.html").read_text()
    assert text.count("<article") == 4 and 'href="#set1">b</a>' in text and "two.py" in text


def test_a_page_that_cannot_be_made_costs_no_score(run, tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise RuntimeError("no page today")

    monkeypatch.setattr("segkit.runners.page.page", fails)
    out = tmp_path / "metrics.json"
    assert main(["test", str(run / "last.pt"), "--trust", "--device", "cpu", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["images"] == 3 and not (tmp_path / "report.html").exists()
    assert "warning: report.html failed and is left out (RuntimeError: no page today)" in capsys.readouterr().err


@pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium: apt-get install chromium")
def test_in_a_browser(run, tmp_path):
    browser = Browser(tmp_path)
    try:
        for width, height in ((1280, 900), (390, 844)):
            browser.open(run / "report.html", width, height)
            assert browser.said() == [] and browser.requested() == [(run / "report.html").as_uri()]
            assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
            wide = "[...document.images].filter(image => !image.closest('dialog') && !image.naturalWidth).length"
            assert browser.evaluate(wide) == 0
        rows = "[...document.querySelectorAll('.classes tbody tr')].map(row => row.children[1].dataset.v)"
        button = "document.querySelectorAll('.classes th button')[1]"
        browser.evaluate(f"{button}.click()")
        falling = [float(value) for value in browser.evaluate(rows) if value]
        assert falling == sorted(falling, reverse=True) and len(set(falling)) > 1
        browser.evaluate(f"{button}.click()")
        assert [float(value) for value in browser.evaluate(rows) if value] == falling[::-1]
        assert browser.evaluate("document.querySelector('.classes th[aria-sort]').ariaSort") == "ascending"
        browser.evaluate("document.querySelector('.pictures button').click()")
        assert browser.evaluate("document.querySelector('dialog').open")
        assert browser.evaluate("document.querySelectorAll('.command button').length") >= 3
        # what a page of an attacker would try
        refused = "fetch('https://example.org').then(() => 'sent', () => 'refused')"
        assert browser.evaluate(refused) == "refused"
    finally:
        browser.close()
