"""The documentation as a site: what docs/make_site.py makes of pages, docstrings and tables, and what it refuses."""

import ast
import importlib
import math
import re
import sys
from pathlib import Path

import pytest

from segkit.registry import LOSSES, REFINERS, SCHEDULES, TRANSFORMS
from tests.pages import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module", autouse=True)
def modules_of_docs():
    """docs/ is on the import path as it is for its scripts, and off it afterwards."""
    sys.path.insert(0, str(DOCS))
    yield
    sys.path.remove(str(DOCS))


def module(name):
    return importlib.import_module(f"website.{name}")


TEXT = """Scales an image by a factor of *s*.

See `Flip`, arXiv 1412.7062 and https://example.org/a_b.

    scaled = scale(image, 2)

- first entry,
  on two lines
- second

Args:
    image: float [H,W].
    low, high: limits; low
        is the smaller.

Raises:
    ValueError: low > high.
"""


def test_a_docstring_in_its_parts():
    docstrings = module("docstrings")
    doc = docstrings.parse(TEXT)
    assert doc.summary == "Scales an image by a factor of *s*." and len(doc.body) == 3
    assert doc.arguments == {
        "image": "float [H,W].",
        "low": "limits; low is the smaller.",
        "high": "limits; low is the smaller.",
    }
    assert doc.sections == {"Raises": ("ValueError: low > high.",)}
    sentence, code, entries = (docstrings.paragraph(block, {"Flip": "Flip.md"}.get) for block in doc.body[:3])
    assert sentence == (
        "See [`Flip`](Flip.md), [arXiv 1412.7062](https://arxiv.org/abs/1412.7062) and <https://example.org/a_b>."
    )
    assert code == "```python\nscaled = scale(image, 2)\n```"
    assert entries == "- first entry, on two lines\n- second"
    assert docstrings.markdown("a * b_c < [n,4] | x") == r"a \* b\_c &lt; \[n,4\] &#124; x"


def test_arguments_are_documented_by_the_class_or_by_one_it_derives_from():
    docstrings, classes = module("docstrings"), module("classes")
    assert "activation" in docstrings.arguments_of(LOSSES.get("Tversky"))  # RegionLoss says what it is
    assert classes.problems_of("losses", "Tversky") == []


class Undocumented:
    """Does something as segkit.no_such_module does.

    Args:
        first: said.
    """

    def __init__(self, first: int, second: int = 2):
        self.values = first, second


def test_gaps_of_a_docstring_are_named(monkeypatch):
    classes = module("classes")
    monkeypatch.setitem(TRANSFORMS._classes, "Undocumented", Undocumented)
    place = "tests.test_site.Undocumented"
    assert classes.problems_of("transforms", "Undocumented") == [
        f"{place}: the docstring does not say what second is",
        f"{place}: its docstring names segkit.no_such_module, which is not there",
    ]


def test_the_page_of_a_class_has_arguments_defaults_ranges_and_paper(tmp_path):
    classes, pages = module("classes"), module("pages")
    site = pages.Site(tmp_path, {"Jaccard": "reference/losses/Jaccard.md"})
    picture = module("picture").Picture("images/losses/Dice.png", "its curve")
    text = classes.page_text("losses", "Dice", site, picture)
    assert "# Dice\n" in text and "](../../images/losses/Dice.png)" in text
    assert 'dict(type="Dice")' in text and "3DV 2016" in text
    assert re.search(r"^\| `smooth` \| `0.0` \| a number of 0 or more \| added to .*\|$", text, re.MULTILINE)
    head = classes.page_text("heads", "FCNHead", site)
    assert re.search(r"^\| `in_channels` \| filled in \| a list, each a whole number \|", head, re.MULTILINE)
    assert "in_channels=..." not in head
    table = classes.registry_page("losses")
    assert table.count("\n| [") == len(LOSSES.names()) and "| [Dice](Dice.md) | Dice loss" in table


def test_pages_on_their_way_into_the_site(tmp_path):
    pages = module("pages")
    site = pages.Site(tmp_path, {"Dice": "reference/losses/Dice.md", "Flip": "reference/transforms/Flip.md"})
    fcn = "configs/_base_/models/fcn_r50.py"
    prose = f"Take `Flip`:\n- [a](data.md#size)\n- [config](../{fcn}), [Dice](losses.md#dice)\n# `Flip`"
    changed = site._prose(prose, "docs/training.md", "training.md").split("\n")
    assert changed == [
        "Take [`Flip`](reference/transforms/Flip.md):",
        "",
        "- [a](data.md#size)",
        f"- [config](files/{fcn}.md), [Dice](reference/losses/Dice.md)",
        "# `Flip`",
    ]
    assert site._prose("[results.md](results.md)", "docs/a.md", "a.md") == "[Recorded runs](results.md)"
    assert site._prose("[d](docs/data.md) [c](CONTRIBUTING.md)", "README.md", "index.md") == (
        "[d](data.md) [c](contributing.md)"
    )
    site.write_sources()
    assert (ROOT / fcn).read_text().strip() in (tmp_path / f"files/{fcn}.md").read_text() and site.problems == []
    site._prose("[x](no_such.py)", "docs/a.md", "a.md")
    assert site.problems == ["docs/a.md: the link to docs/no_such.py leads nowhere"]
    table = pages.with_blank_lines("Text\n| a |\n|---|\n| `x \\| y` |")
    assert table == "Text\n\n| a |\n|---|\n| `x | y` |"


def test_every_page_stands_in_the_navigation():
    navigation = module("navigation")
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    tabs = navigation.navigation([*pages, "index.md", "a_page_of_tomorrow.md", "files/configs/a.py.md"])
    assert [name for tab in tabs for name in tab] == ["Start", "Tutorials", "How-to", "Reference", "Background"]
    found = re.findall(r"'([\w/]+\.md)'", str(tabs))
    assert sorted(found) == sorted([*pages, "index.md", "a_page_of_tomorrow.md"])
    assert "a_page_of_tomorrow.md" in tabs[2]["How-to"][-1]["More"]


def test_broken_links_of_a_finished_site_are_found(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.html").write_text(
        '<a href="b/c.html#here">x</a> <a href="b/c.html#gone">x</a> <img src="no.png"> <a href="https://e.org/z">x</a>'
    )
    (tmp_path / "b/c.html").write_text('<h1 id="here">x</h1> <a href="../a.html">x</a>')
    assert module("check").broken_links(tmp_path) == [
        "a.html: b/c.html#gone: the page has no such anchor",
        "a.html: the link to no.png leads nowhere",
    ]


def test_the_table_of_the_model_zoo():
    """The rows of the page, with task and year apart and the numbers as they stand there."""
    zoo = module("zoo")
    text = (DOCS / "model_zoo.md").read_text()
    rows = [line for line in zoo.zoo_page(text).splitlines() if line.startswith("| ")]
    columns = [part.strip() for part in rows[0].split("|")[1:-1]]
    assert tuple(columns) == zoo.COLUMNS
    systems = [dict(zip(columns, cells(row))) for row in rows[1:] if len(cells(row)) == len(columns)]
    made = {re.search(r"(\w[\w.+-]*)\.py", system["system"])[1]: system for system in systems}
    fcn, ritm = made["fcn_r50"], made["ritm_hrnet18s"]
    assert (fcn["task"], fcn["year"], fcn["GMAC"]) == ("semantic", "2015", "197.6")
    assert ritm["task"] == "clicks" and made["mib_r101_os16"]["task"] == "class steps"
    count = int(re.search(r"\[fcn_r50\][^|]*\| ([\d,]+) \(19\)", text)[1].replace(",", ""))
    assert fcn["parameters"] == f"{count / 1e6:.2f} M (19 classes)"
    assert len(made) == len(re.findall(r"^\|.*\]\(\.\./configs/_base_/models/", text, re.MULTILINE))


def test_the_table_of_errors():
    """Every sentence of the written table is one of the sources; the list is made of fixed words and gaps."""
    errors = module("errors")
    tree = ast.parse('raise ConfigError(f"{at}.x = {x}{y}: must be {z} or more" " in all")\nraise DataError(text)\n')
    assert list(errors.sentences(tree)) == [("ConfigError", "....x = ...: must be ... or more in all")]
    found = errors.raised(ROOT / "segkit")
    assert len(found) > 1500 and {one.kind for one in found} == set(errors.KINDS)
    page = (DOCS / "errors.md").read_text()
    rows = re.findall(r'^\| "(.*?)" \|', page, re.MULTILINE)
    assert len(rows) == 22
    sources = " ".join(path.read_text() for path in sorted((ROOT / "segkit").rglob("*.py")))
    for row in rows:
        pieces = [piece.strip() for piece in row.split(errors.GAP)]
        joined = re.sub(r'"\s+f?"', "", sources)
        assert all(piece in joined for piece in pieces), row
    made = errors.errors_page(page)
    assert made.startswith(page.rstrip()) and made.count("\n| ") == len(found) + len(rows) + 2  # and two heads


def test_the_page_of_base_configs():
    bases = module("bases")
    schedule = bases.schedule_row(bases.BASES / "schedules/own_data_gpu.py")
    assert schedule[:4] == ("AdamW", "0.0001", "Poly, power 1, warm-up 20 steps", "8,000 steps")
    assert "`ema`" in schedule[4]
    assert bases.schedule_row(bases.BASES / "schedules/boxinst_1x.py")[3] == "12 epochs"  # what it builds on has 36
    kind, batch, names = bases.dataset_row(bases.BASES / "datasets/folder.py")
    assert (kind, batch) == ("`Folder`", "4") and "`root`" in names and "`_files`" not in names
    assert bases.steps_row(bases.BASES / "incremental/mib.py") == ("`UnbiasedCE`, `UnbiasedKD`",)


def test_pages_that_say_since_when():
    since = module("since")
    pages = since.pages_of(ROOT)
    assert {"data.md", "tutorials/many_gpus.md", "notebooks/README.md"} <= set(pages)
    assert any(page.endswith(".ipynb") for page in pages)
    assert since.since("pages", "data.md") == "0.1.0" and since.since("pages", "errors.md") > "0.2.0"


def cells(row):
    return [part.strip() for part in row.split("|")[1:-1]]


def test_pictures_show_a_change():
    """The panel of the untouched image is the image; a mirrored draw differs from it."""
    pictures, drawing = module("pictures"), module("drawing")
    dataset = pictures.Shapes("val", length=1, size=pictures.SIZE, instances=False)
    height, width = (side * drawing.SCALE for side in pictures.SIZE)
    picture = pictures.transform_picture("Flip", dataset)
    assert picture.shape == (2 * height, 4 * width + 3 * 8, 3)
    image = picture[:height, :width]
    assert (image == dataset.image(0).repeat(2, 0).repeat(2, 1)).all()
    draws = [picture[:height, i * (width + 8) :][:, :width] for i in (1, 2, 3)]
    assert any((draw == image[:, ::-1]).all() for draw in draws)
    assert all((draw != image).any() for draw in draws)
    with_boxes = pictures.transform_picture("Flip", pictures.Shapes("val", length=1, size=pictures.SIZE))
    assert (with_boxes[:height] != picture[:height]).any() and (with_boxes[height:] == picture[height:]).all()


def test_every_transform_loss_refiner_and_schedule_has_a_picture_or_a_reason():
    curves, pictures, samples = module("curves"), module("pictures"), module("samples")
    plots = importlib.import_module("make_losses").PLOTS
    for registry, parts in (
        (LOSSES, (plots, curves.CURVES, curves.NO_CURVE)),
        (TRANSFORMS, (pictures.TRANSFORM_ARGUMENTS, samples.TRANSFORM_PICTURES, samples.NO_TRANSFORM_PICTURE)),
        (REFINERS, (pictures.REFINER_ARGUMENTS, pictures.REFINERS_APART, pictures.NO_REFINER_PICTURE)),
        (SCHEDULES, (curves.SCHEDULE_ARGUMENTS,)),
    ):
        named = [name for part in parts for name in part]
        assert sorted(named) == sorted(registry.names())


def test_points_on_the_curves_of_losses():
    """Values that are known by hand, and the place where a curve is lowest."""
    curves = module("curves")
    xs, ys = curves.lines_of("CrossEntropy")["plain"]
    assert all(y == pytest.approx(-math.log(x), abs=1e-6) for x, y in zip(xs, ys))
    xs, ys = curves.lines_of("Focal")["gamma=2"]
    assert ys[10] == pytest.approx(-((1 - xs[10]) ** 2) * math.log(xs[10]), abs=1e-6)
    hard = curves.lines_of("OHEM")["min_kept=0, threshold=0.7"]
    assert all((y > 0) == (x < 0.7) for x, y in zip(*hard))
    for name, best in (("KLDistillation", 0.9), ("OldClassKD", 0.9), ("FLOPsBudget", 0.1), ("LovaszSoftmax", 0)):
        xs, ys = next(iter(curves.lines_of(name).values()))
        assert xs[ys.index(min(ys))] == pytest.approx(best, abs=0.011), name
    terms = curves.lines_of("BoxInst")
    assert set(terms) == {"projection", "pairwise"} and list(terms["projection"][1]) == sorted(terms["projection"][1])
    unbiased, plain = (curves.lines_of("UnbiasedCE")[key][1] for key in ("defaults", "CrossEntropy"))
    assert all(u == pytest.approx(-math.log((1 + x) / 2), abs=1e-5) for x, u in zip(curves.PROBABILITIES, unbiased))
    assert plain[0] == pytest.approx(-math.log(0.49))


def test_clicks_of_the_picture_of_schemes():
    """The stand-in predicts what is near a positive click and nearer to it than to a negative one."""
    mask = module("samples").predicted([(10, 10, True), (10, 20, False)], (30, 40))
    assert mask[10, :16].all() and not mask[10, 16:].any() and not mask[29, 39]


@pytest.mark.slow
def test_the_site_builds_without_a_problem(tmp_path):
    """What `make docs` does."""
    pytest.importorskip("material", reason="the site needs the extra docs")
    make_site = importlib.import_module("make_site")
    assert make_site.build(tmp_path / "site") == []
    dice = (tmp_path / "site/reference/losses/Dice.html").read_text()
    assert "soft F1" in dice and (Path(tmp_path) / "site/images/reference/Elastic.jpg").is_file()
