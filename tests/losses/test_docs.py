"""The losses' page holds every loss of the contract."""

import re
from pathlib import Path

from tests.losses.cases import CASES

DOCS = Path(__file__).parents[2] / "docs"


def test_page_has_a_row_and_a_section_for_every_loss_and_no_missing_picture():
    text = (DOCS / "losses.md").read_text()
    names = {case.name for case in CASES}
    assert names <= set(re.findall(r"^\| \[(\w+)\]", text, re.M))
    assert names <= set(re.findall(r"^## (\w+)$", text, re.M))
    pictures = re.findall(r"\]\((images/[^)]+)\)", text)
    assert len(pictures) > 10 and all((DOCS / picture).exists() for picture in pictures)
