"""The page of `segkit annotate` in Chromium: `make test-browser`.

Each test opens its image or its project anew; what a test draws stays in its image alone.
"""

import itertools
import json
import math
import os
import re
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.browser.chromium import EXECUTABLE
from tests.browser.served import Annotator, Served, many, photographs, turned_photograph

ROOT = Path(__file__).parents[2]
CLICK_MODEL = ROOT / "tests/fixtures/ritm/tiny_hrnet_w4.pth"
PAGE = ROOT / "segkit/annotate/page"

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install segkit[browser]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def window(chromium):
    """A window of 1400 x 900; its tabs share what they store."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    yield context
    context.close()


@pytest.fixture
def tab(window):
    """A tab whose console has to stay empty."""
    annotator = Annotator(window.new_page())
    yield annotator
    assert annotator.said == []


@pytest.fixture(scope="module")
def hand(tmp_path_factory):
    """A project of objects without a model."""
    folder = photographs(tmp_path_factory.mktemp("hand") / "images", tuple("abcdefghijk"))
    turned_photograph(folder / "turned.jpg")
    out = folder.parent / "out"
    served = Served(folder, "--kind", "instances", "--classes", "cell,nucleus,membrane", "--out", str(out))
    yield served
    served.end()


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    """A project of objects on a photograph of GrabCut, with a click model."""
    root = os.environ.get("SEGKIT_DATA")
    source = Path(root or "none") / "GrabCut/data_GT/106024.jpg"
    if not source.is_file():
        pytest.skip("SEGKIT_DATA names no folder with GrabCut")
    folder = tmp_path_factory.mktemp("clicks") / "images"
    folder.mkdir()
    shutil.copy(source, folder)
    out = folder.parent / "out"
    served = Served(folder, "--kind", "instances", "--model", str(CLICK_MODEL), "--out", str(out))
    yield served
    served.end()


@pytest.fixture(scope="module")
def predictor():
    """The model of `clicks` in this process."""
    from segkit.api import click_predictor, load_model

    return click_predictor(load_model(str(CLICK_MODEL)))


def id_of(served: Served, name: str) -> str:
    rows = served.get("images?count=200")["images"]
    return next(row["id"] for row in rows if row["name"] == name)


def open_image(tab: Annotator, served: Served, name: str, place: str = "") -> None:
    tab.open(f"{served.address}#image={id_of(served, name)}{place}")
    assert tab.image["name"] == name


def areas(tab: Annotator) -> list[int]:
    return [item["area"] for item in tab.image["objects"]]


@pytest.mark.parametrize("zoom", [1.0, 2.5, 32.0])
def test_clicks_on_grabcut_equal_the_click_predictor_pixel_for_pixel(tab, clicks, predictor, zoom):
    tab.open(clicks.address)
    tab.look_at(240, 160, zoom)
    assert tab.page.inner_text("#zoom") == f"{zoom:.0%}".replace("%", " %")
    tab.keys("n", "c")
    tab.click(240.5, 160.2)
    tab.click(247.9, 166.7, button="right")
    made = tab.image["objects"][-1]
    assert [click["positive"] for click in made["clicks"]] == [True, False]
    for click, (x, y) in zip(made["clicks"], [(240.5, 160.2), (247.9, 166.7)]):
        assert abs(click["x"] - x) <= 0.51 and abs(click["y"] - y) <= 0.51

    photograph = next(Path(clicks.process.args[4]).glob("*.jpg"))
    predictor.set_image(cv2.imread(str(photograph), cv2.IMREAD_COLOR_RGB))
    for click in made["clicks"]:
        mask = predictor.click(math.floor(click["y"]), math.floor(click["x"]), click["positive"])
    assert 0 < mask.sum() < mask.size
    np.testing.assert_array_equal(clicks.ids(tab.image) == made["id"], mask)

    # what the page draws of it, at the zoom of the clicks
    for other in tab.image["objects"][:-1]:
        tab.page.click(f"#object-{other['id']} .eye")
        tab.settle()
    tab.page.focus("#marks")
    tab.keys("o", "Escape")
    is_drawn, pixels = tab.drawn()
    assert len(pixels) > 100
    np.testing.assert_array_equal(is_drawn, mask[pixels[:, 0], pixels[:, 1]])
    tab.keys("o")


def test_brush_eraser_and_polygon_draw_what_the_server_has(tab, hand):
    open_image(tab, hand, "a.png")
    tab.keys("b", "n")
    tab.stroke((60, 60), (120, 60))
    expected = np.zeros((240, 320), np.uint8)
    cv2.line(expected, (60, 60), (120, 60), 1, 20)
    found = hand.ids(tab.image) == tab.image["objects"][0]["id"]
    assert (found != (expected > 0)).sum() < 0.08 * expected.sum()  # the ends of a line are drawn in two ways
    tab.keys("o", "e")
    tab.stroke((90, 40), (90, 80))
    found = hand.ids(tab.image)
    assert found[60, 90] == 0 and found[60, 65] == found[60, 115] != 0
    tab.keys("n", "p", "2")
    for x, y in ((150.0, 100.0), (200.0, 100.0), (200.0, 140.0), (150.0, 140.0)):
        tab.click(x, y)
    tab.keys("q")
    polygon = tab.image["objects"][1]
    assert polygon["class"] == 1 and abs(polygon["area"] - 50 * 40) <= 2 * (50 + 40)
    tab.page.mouse.move(5, 5)
    tab.keys("Escape")
    is_drawn, pixels = tab.drawn()
    np.testing.assert_array_equal(is_drawn, hand.ids(tab.image)[pixels[:, 0], pixels[:, 1]] > 0)
    tab.keys("o")


def test_undo_and_redo_go_through_everything(tab, hand):
    open_image(tab, hand, "b.png")
    states = [hand.ids(tab.image)]
    tab.keys("b", "n")
    for number in range(5):
        tab.stroke((40 + 40 * number, 40), (60 + 40 * number, 120))
        states.append(hand.ids(tab.image))
    tab.keys("u", "Delete")
    assert areas(tab) == [] and not hand.ids(tab.image).any()
    tab.keys("Control+z*2")
    np.testing.assert_array_equal(hand.ids(tab.image), states[-1])
    for expected in states[-2:0:-1]:
        tab.keys("Control+z")
        np.testing.assert_array_equal(hand.ids(tab.image), expected)
    tab.keys("Control+Shift+Z*4")
    np.testing.assert_array_equal(hand.ids(tab.image), states[-1])
    tab.keys("Control+z*6")
    assert tab.page.is_disabled("#undo") and tab.image["objects"] == []


def test_a_reload_shows_the_same_at_the_same_place(tab, hand):
    open_image(tab, hand, "c.png", "&x=100&y=80&zoom=4")
    tab.keys("b", "n")
    tab.stroke((90, 80), (110, 80))
    before, ids = tab.image, hand.ids(tab.image)
    tab.wait("location.hash.includes('zoom=4')")
    tab.page.reload()
    tab.settle()
    assert tab.image["objects"] == before["objects"] and tab.page.inner_text("#zoom") == "400 %"
    tab.keys("o")
    tab.page.mouse.move(5, 5)
    is_drawn, pixels = tab.drawn()
    assert is_drawn.any()
    np.testing.assert_array_equal(is_drawn, ids[pixels[:, 0], pixels[:, 1]] > 0)


def test_the_later_of_two_tabs_is_told_and_overwrites_nothing(tab, window, hand):
    open_image(tab, hand, "d.png")
    other = Annotator(window.new_page())
    open_image(other, hand, "d.png")
    tab.keys("b", "n")
    tab.stroke((50, 50), (90, 50))
    kept = hand.ids(tab.image)
    other.keys("b", "n")
    other.page.mouse.click(*other.at(200, 200))
    other.page.wait_for_selector("#banner:not([hidden])")
    assert "changed elsewhere" in other.page.inner_text("#banner")
    image = hand.get(f"images/{tab.image['id']}")
    np.testing.assert_array_equal(hand.ids(image), kept)
    other.page.click("#banner-button")
    other.wait(f"segkit.store.image.version === {image['version']}")
    other.settle()
    assert not other.page.is_visible("#banner")
    other.stroke((200, 200), (220, 200))
    assert len(other.image["objects"]) == 2
    assert all("409" in line for line in other.said)


def test_a_killed_server_loses_nothing_and_the_stroke_under_way_is_sent_to_the_next_one(window, tmp_path):
    folder = photographs(tmp_path / "images", ("a",))
    words = ("--kind", "instances", "--classes", "cell", "--out", str(tmp_path / "out"))
    served = Served(folder, *words)
    tab = Annotator(window.new_page())
    tab.open(served.address)
    tab.keys("b", "n")
    tab.stroke((60, 60), (120, 60))
    before = served.ids(tab.image)
    # killed in the middle of a stroke, which ends while there is no server
    tab.page.mouse.move(*tab.at(60, 120))
    tab.page.mouse.down()
    tab.page.mouse.move(*tab.at(90, 120), steps=4)
    served.kill()
    tab.page.mouse.move(*tab.at(120, 120), steps=4)
    tab.page.mouse.up()
    tab.page.wait_for_selector("#banner:not([hidden])")
    assert "does not answer" in tab.page.inner_text("#banner") and "not saved" in tab.page.inner_text("#saved")
    address = served.address
    served = Served(folder, *words)
    try:
        assert served.address == address
        tab.settle()
        assert not tab.page.is_visible("#banner") and tab.page.inner_text("#saved") == "Saved"
        after = served.ids(tab.image)
        np.testing.assert_array_equal(after[:90], before[:90])
        assert after[120, 60] == after[120, 90] == after[120, 120] == before[60, 60]
        tab.keys("Control+z*3")
        assert tab.image["objects"] == []
        assert all("ERR_" in line for line in tab.said), tab.said
    finally:
        served.end()


def test_edits_that_the_server_does_not_answer_are_kept_and_sent_in_their_order(tab, window, hand):
    open_image(tab, hand, "k.png")
    tab.keys("b", "n")
    window.set_offline(True)
    for x, y in ((60, 60), (120, 120)):
        tab.page.mouse.click(*tab.at(x, y))
    tab.page.keyboard.press("e")
    tab.page.mouse.click(*tab.at(60, 60))
    tab.page.wait_for_selector("#banner:not([hidden])")
    assert "4 edits are kept" in tab.page.inner_text("#banner")
    assert hand.get(f"images/{tab.image['id']}")["objects"] == []
    window.set_offline(False)
    tab.settle()
    assert not tab.page.is_visible("#banner") and tab.page.inner_text("#saved") == "Saved"
    ids = hand.ids(tab.image)
    assert ids[60, 60] == 0 and ids[120, 120] == tab.image["objects"][0]["id"] and len(tab.image["objects"]) == 1
    assert all("ERR_INTERNET_DISCONNECTED" in line for line in tab.said), tab.said
    tab.said.clear()


def test_five_thousand_images_are_listed_within_two_seconds(window, tmp_path):
    served = Served(many(tmp_path / "images", 5000), "--classes", "cell", "--out", str(tmp_path / "out"))
    tab = Annotator(window.new_page())
    try:
        started = time.monotonic()
        tab.open(served.address)
        print(f"5,000 images open in {time.monotonic() - started:.2f} s")
        assert tab.page.inner_text("#count") == "5000"
        assert tab.page.locator("#rows .image").count() < 60
        tab.page.focus("#list")
        tab.page.keyboard.press("End")
        tab.page.wait_for_selector("text=4999.png")
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector("h1:has-text('4999.png')")
        tab.page.keyboard.press("/")
        tab.page.keyboard.type("012")
        tab.page.wait_for_selector("#count:has-text('of 5000')")
        assert {"0012.png", "0120.png", "4012.png"} <= set(tab.page.locator("#rows .image span").all_inner_texts())
        assert tab.said == []
    finally:
        served.end()


def test_every_place_of_an_audit_is_looked_at(window, tmp_path):
    """Two places of a.png, one of c.png without a box; b.png is in order."""
    folder = photographs(tmp_path / "images")
    findings = [
        dict(image="a.png", box=[10, 20, 40, 50], kind="missing", score=0.9, **{"class": "road"}, predicted="car"),
        dict(image="c.png", box=None, kind="swapped", score=0.7, **{"class": "car"}, predicted="road"),
        dict(image="a.png", box=[250, 150, 290, 200], kind="spurious", score=0.6, **{"class": "car"}),
    ]
    (tmp_path / "audit.json").write_text(json.dumps({"findings": findings}))
    words = ("--from", str(tmp_path / "audit.json"), "--classes", "road,car", "--out", str(tmp_path / "out"))
    served = Served(folder, *words)
    tab = Annotator(window.new_page())

    def seen() -> tuple[str, list[int]]:
        """What is said, and the middle of the view in the image."""
        middle = tab.page.evaluate("segkit.port.toImage(segkit.port.width / 2, segkit.port.height / 2)")
        return tab.page.inner_text("#note-text"), [round(value) for value in middle]

    try:
        tab.open(served.address)
        assert tab.page.inner_text("#count") == "2"
        first = ("1 of 2: missing: labelled road, seen car (0.90)", [25, 35])
        second = ("2 of 2: spurious car (0.60)", [270, 175])
        assert seen() == first
        tab.keys(">")
        assert seen() == second
        tab.page.click("#note-next")
        tab.settle()
        assert seen() == first
        tab.keys("<", "n", "b")
        assert seen() == second
        tab.click(270, 175)  # a stroke leaves the view and the place as they are
        assert seen() == second and tab.image["objects"][0]["area"] > 0
        tab.keys("d")
        tab.wait("segkit.store.image.name === 'c.png'")
        tab.settle()
        assert seen()[0] == "swapped: labelled car, seen road (0.70)" and not tab.page.is_visible("#note-next")
        tab.keys(">", "a")
        tab.wait("segkit.store.image.name === 'a.png'")
        tab.settle()
        assert seen() == first and tab.said == []
    finally:
        served.end()


def test_a_decision_counts_for_the_image_that_is_seen(window, tmp_path):
    """R behind Y comes while the next image is still being opened."""
    folder = photographs(tmp_path / "images")
    served = Served(folder, "--classes", "road,car", "--out", str(tmp_path / "out"))
    tab = Annotator(window.new_page())
    try:
        tab.open(f"{served.address}#image={id_of(served, 'a.png')}")
        press = "key => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))"
        tab.page.evaluate(f"['y', 'r', 'r'].forEach({press})")
        tab.wait("segkit.store.image.name === 'b.png'")
        tab.settle()
        states = {row["name"]: row["state"] for row in served.get("images?count=200")["images"]}
        assert states["a.png"] == "done" and states["b.png"] not in ("done", "rejected")
        tab.keys("r")
        tab.wait("segkit.store.image.name === 'c.png'")
        tab.settle()
        states = {row["name"]: row["state"] for row in served.get("images?count=200")["images"]}
        assert states["a.png"] == "done" and states["b.png"] == "rejected" and tab.said == []
    finally:
        served.end()


def test_an_image_of_108_million_pixels(window, tmp_path):
    picture = np.full((9000, 12000, 3), 90, np.uint8)
    cv2.rectangle(picture, (11000, 8000), (11499, 8499), (20, 200, 20), -1)
    (folder := tmp_path / "images").mkdir()
    assert cv2.imwrite(str(folder / "large.jpg"), picture)
    words = ("--kind", "instances", "--classes", "cell,nucleus", "--out", str(tmp_path / "out"))
    served = Served(folder, *words)
    tab = Annotator(window.new_page())
    try:
        tab.open(served.address)
        assert tab.image["size"] == [9000, 12000]
        x, y = map(round, tab.at(11250, 8250))  # the whole image in sight
        assert tab.screenshot()[y, x].astype(int)[1] > 150
        tab.keys("b", "n")
        tab.stroke((1500, 1500), (9000, 7000))
        assert areas(tab)[0] > 7500 * 20
        tab.look_at(11250, 8250, 1.0)
        shot = tab.screenshot().astype(int)
        inside, beside = ([round(part) for part in tab.at(at, 8250)] for at in (11490, 11510))
        assert shot[inside[1], inside[0], 1] > 150 and abs(shot[beside[1], beside[0]] - 90).max() < 12
        tab.keys("n", "2")
        tab.stroke((11200.5, 8250.5), (11300.5, 8250.5))
        x0, y0, x1, y1 = tab.image["objects"][1]["bbox"]
        assert 11150 < x0 < 11200 and 11300 < x1 < 11350 and 8200 < y0 < 8250 < y1 < 8300
        tab.page.reload()
        tab.settle()
        assert len(areas(tab)) == 2 and tab.said == []
    finally:
        served.end()


def test_the_threshold_is_shown_under_the_hand_before_it_is_applied(tab, clicks):
    tab.open(clicks.address)
    tab.look_at(240, 160, 1.0)
    tab.keys("n", "c")
    tab.click(240.5, 160.2)
    made = tab.image["objects"][-1]
    place = tab.page.locator("#marks").bounding_box()

    def shown(value: float) -> np.ndarray:
        """The picture with the slider at a value."""
        field = "document.getElementById('threshold')"
        tab.page.evaluate(f"{field}.value = {value}, {field}.dispatchEvent(new Event('input'))")
        tab.settle()
        assert tab.page.inner_text("#threshold-shown") == f"{value:.2f}"
        return tab.screenshot()[int(place["y"]) :, int(place["x"]) : int(place["x"] + place["width"])].astype(int)

    nothing = shown(0.98)  # where the network is that sure of no pixel
    deadline = time.monotonic() + 30
    while (everything := int((abs(shown(0.02) - nothing).max(2) > 8).sum())) < 100_000:
        assert time.monotonic() < deadline  # its probabilities are read only now
    part = int((abs(shown(0.3) - nothing).max(2) > 8).sum())
    assert 100 < part < everything
    assert tab.image["objects"][-1]["area"] == made["area"]  # nothing is sent yet
    tab.page.evaluate("document.getElementById('threshold').dispatchEvent(new Event('change'))")
    tab.settle()
    changed = tab.image["objects"][-1]
    assert changed["threshold"] == 0.3 and changed["area"] > made["area"]
    tab.keys("Control+z")
    assert tab.image["objects"][-1]["area"] == made["area"]


def test_a_photograph_that_exif_turns(tab, hand):
    open_image(tab, hand, "turned.jpg")
    assert tab.image["size"] == [100, 60]
    shot = tab.screenshot().astype(int)
    x, y = map(round, tab.at(50, 50))
    assert shot[y, x, 0] > 200 and shot[y, x, 1] < 60  # the upper rows as stored lie at the right
    x, y = map(round, tab.at(10, 50))
    assert abs(shot[y, x] - 90).max() < 12
    tab.keys("x", "n")
    tab.stroke((40, 0.2), (59.8, 99.8))
    assert tab.image["objects"][0]["bbox"] == [40, 0, 60, 100]


def test_a_narrow_window_has_one_column_and_everything_in_it(tab, hand):
    tab.page.set_viewport_size({"width": 420, "height": 800})
    open_image(tab, hand, "e.png")
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    lefts = [tab.page.locator(name).bounding_box() for name in ("#stage", "#side", "#images")]
    assert [box["x"] for box in lefts] == [0, 0, 0] and lefts[0]["y"] < lefts[1]["y"] < lefts[2]["y"]
    for name in ("#undo", "#accept", "#reject", "#keys"):
        box = tab.page.locator(name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 420
    tab.keys("b", "n")
    tab.stroke((100, 100), (150, 100))
    assert areas(tab)[0] > 500


def test_everything_by_keyboard_alone(tab, hand):
    open_image(tab, hand, "f.png")
    tab.page.focus("#marks")
    tab.keys("b", "ArrowLeft*8", "Enter", "ArrowDown*6", "Enter")
    tab.keys("n", "2", "p", "ArrowRight*30", "Enter", "ArrowDown*8", "Enter", "ArrowLeft*8", "Enter", "q")
    tab.keys("n", "3", "x", "ArrowUp*20", "Shift+Enter", "ArrowUp*8", "ArrowRight*9", "Shift+Enter")
    found = tab.image["objects"]
    assert [item["class"] for item in found] == [0, 1, 2] and all(area > 100 for area in areas(tab))
    tab.keys("Shift+Digit1", "v")
    assert tab.image["objects"][2]["class"] == 0 and not tab.image["objects"][2]["visible"]
    tab.keys("v")
    top = max(found, key=lambda item: item["order"])["id"]
    assert top == found[2]["id"]
    tab.keys("Alt+ArrowDown")
    assert max(tab.image["objects"], key=lambda item: item["order"])["id"] == found[1]["id"]
    tab.page.focus("#objects")
    tab.keys("End", "Space", "ArrowUp", "m")
    assert len(tab.image["objects"]) == 2
    tab.keys("g")
    assert len(tab.image["objects"]) == 3
    tab.keys("Delete*2", "Control+z")
    assert len(tab.image["objects"]) == 2
    tab.page.keyboard.press("?")
    assert tab.page.is_visible("#help") and tab.page.locator("#help dt").count() > 30
    tab.page.keyboard.press("Escape")
    # a copy to the next image, and a decision, with the keyboard alone
    tab.keys("d")
    tab.wait("segkit.store.image.name === 'g.png'")
    tab.keys("i")
    assert len(tab.image["objects"]) == 2
    tab.keys("y")
    tab.wait("segkit.store.image.name === 'h.png'")
    tab.keys("r")
    tab.wait("segkit.store.image.name === 'i.png'")
    states = {row["name"]: row["state"] for row in hand.get("images?count=200")["images"]}
    assert states["g.png"] == "done" and states["h.png"] == "rejected" and states["i.png"] == "new"
    # every part is reached by Tab
    reached = set()
    for _ in range(60):
        tab.page.keyboard.press("Tab")
        reached.add(tab.page.evaluate("document.activeElement.id"))
    assert {"accept", "keys", "marks", "classes", "objects", "opacity", "search", "list", "outputs"} <= reached


def test_zoom_stays_under_the_pointer_up_to_3200_percent(tab, hand):
    open_image(tab, hand, "j.png")
    x, y = map(round, tab.at(200, 90))
    box = tab.page.locator("#marks").bounding_box()
    place = tab.page.evaluate(f"segkit.port.toImage({x - box['x']}, {y - box['y']})")
    tab.page.mouse.move(x, y)
    for _ in range(30):
        tab.page.mouse.wheel(0, -200)
    tab.wait("segkit.port.zoom === 32")
    assert tab.page.inner_text("#zoom") == "3200 %"
    assert np.allclose(tab.at(*place), (x, y), atol=0.1)
    tab.keys("f")
    assert tab.page.evaluate("Math.abs(segkit.port.zoom - segkit.port.fitting) < 1e-9")


def test_the_server_is_asked_for_everything_and_nobody_else(window, hand):
    tab = Annotator(window.new_page())
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.open(hand.address)
    assert asked and all(url.startswith((hand.address, "data:")) for url in asked)


# Machado, Oliveira, Fernandes: A physiologically-based model for simulation of color vision deficiency, 2009, table of
# severity 1.0, for linear RGB
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab_as_seen(color: str, matrix: list[list[float]]) -> np.ndarray:
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(matrix) @ linear, 0, 1)
    stored = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(stored.astype(np.float32).reshape(1, 1, 3), cv2.COLOR_RGB2LAB)[0, 0]


@pytest.mark.parametrize("name", DEFICIENCIES)
def test_colors_of_objects_and_classes_are_told_apart(hand, name):
    """Least distance of two in CIELAB as seen with the deficiency; 10 is several times what is just noticed."""
    text = (PAGE / "colors.js").read_text(encoding="utf-8")
    objects = re.findall(r'"(#[0-9a-f]{6})"', text[: text.index("];")])
    classes = [row["color"] for row in hand.get("project")["classes"]]
    assert len(objects) == 8 and len(classes) == 3
    for colors in (objects, classes):
        seen = [lab_as_seen(color, DEFICIENCIES[name]) for color in colors]
        for (i, a), (j, b) in itertools.combinations(enumerate(seen), 2):
            assert np.linalg.norm(a - b) > 10, (colors[i], colors[j])
