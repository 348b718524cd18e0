"""The commands of docs/labelling_loop.md in their order, on twelve photographs of CamVid made small.

What people do in the browser is stood in for by the true labels, written as segkit annotate writes them.
"""

import json
import shlex

import cv2
import numpy as np
import pytest

from segkit.cli.main import main
from segkit.data.semantic.camvid import CLASSES, CamVid
from tests.pages import BLOCKS, commands, kind

PAGE = "docs/labelling_loop.md"
FEW = {
    "segkit new": ["--no-trial"],
    "segkit train": ["--cfg-options", "loop.steps=4", "loop.eval_every=4", "train.workers=0", "train.batch_size=4"],
}
"""What makes commands a matter of seconds, by their beginnings."""

SIZE = (120, 160)
LEFT_OUT = ("segkit annotate", "segkit audit")
"""Commands with tests of their own."""


def label(data: CamVid, numbers: range) -> None:
    """Writes masks of class + 1, and their names, as a person would have them written."""
    for number in numbers:
        mask = cv2.resize(data.mask(10 * number), SIZE[::-1], interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(f"streets/masks/{number:02}.png", np.where(mask == 255, 0, mask + 1).astype(np.uint8))


@pytest.mark.slow
def test_the_page_in_order(real_data, tmp_path, monkeypatch):
    data = CamVid(str(real_data / "camvid"), "test")
    monkeypatch.chdir(tmp_path)
    for folder in ("streets/images", "streets/masks", "more"):
        (tmp_path / folder).mkdir(parents=True)
    for number in range(20):
        photo = cv2.resize(data.image(10 * number), SIZE[::-1], interpolation=cv2.INTER_AREA)
        cv2.imwrite(f"{'streets/images' if number < 12 else 'more'}/{number:02}.jpg", photo[..., ::-1])
    (tmp_path / "streets/classes.txt").write_text("".join(f"{name}\n" for name in ("background", *CLASSES)))
    label(data, range(6))
    lines = [line for block in BLOCKS[PAGE] if kind(block) == "commands" for line in commands(block.text)]
    run = []
    for line in lines:
        if line.startswith("segkit annotate") and "--review drafts" in line:
            label(data, range(6, 12))
        if not line.startswith(LEFT_OUT):
            extra = next((words for start, words in FEW.items() if line.startswith(start)), [])
            run.append(line.split()[1])
            assert main([*shlex.split(line, comments=True)[1:], *extra]) == 0, line
    assert run == ["new", "train", "autolabel", "train", "next"]
    rows = json.loads((tmp_path / "drafts/drafts.json").read_text())["images"]
    assert len(rows) == 12 and [row["score"] for row in rows] == sorted(row["score"] for row in rows)
    chosen = (tmp_path / "next/next.txt").read_text().split()
    assert len(chosen) == 4 and all((tmp_path / "more" / name).is_file() for name in chosen)
    assert [row["image"] for row in json.loads((tmp_path / "next/next.json").read_text())["findings"]] == chosen
