"""The page for contributors names files that exist, and the floors that the tests hold."""

import re
from pathlib import Path

from tests.test_floors import FLOORS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def test_the_table_of_floors_is_the_one_that_is_tested():
    rows = re.findall(r"^\| \d+ \| (.*) \|$", PAGE, re.MULTILINE)
    assert [tuple(re.findall(r"`([\w.]+)`", row)) for row in rows] == list(FLOORS)


def test_every_named_file_and_folder_exists():
    named = {path for path in re.findall(r"\b((?:segkit|configs|tests|docs)/[\w./]*)", PAGE) if "NAME" not in path}
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path.rstrip(".")).exists()] == []


def test_every_place_of_a_new_part_has_its_folder():
    named = set(re.findall(r"`((?:segkit|configs|tests)/[\w/]*)NAME\.py`", PAGE)) | {"tests/", "docs/"}
    assert len(named) > 8 and all((ROOT / folder.rpartition("/")[0]).is_dir() for folder in named)
