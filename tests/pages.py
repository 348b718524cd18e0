"""The blocks and commands of README.md and docs/, and stand-ins for the files that the pages' readers have."""

import argparse
import ast
import importlib
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
import pytest

from segkit.cli import common
from segkit.cli.main import COMMANDS, main
from segkit.config import SECTIONS, load_config
from segkit.readers.python_config import dump
from segkit.schema import check

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted(f"docs/tutorials/{path.name}" for path in (ROOT / "docs/tutorials").glob("*.md"))
PAGES = [
    "README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    *TUTORIALS,
    "notebooks/README.md",
    "benchmarks/results.md",
]
SLOW = [page for page in TUTORIALS if not page.endswith("many_gpus.md")]
"""Pages that train from their first to their last line."""
PROGRAMS = ("segkit", "torchrun", "srun", "make", "pip", "python", "pytest", "export", "if")
"""What a line of a shell block, or a piece of code in a sentence, may begin with to be a command."""


class Block(NamedTuple):
    """A fenced block: page, number of its first line, language, text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    blocks = [Block(page, text[: m.start()].count("\n") + 1, m[1], m[2]) for m in found]
    fences = len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE))
    assert fences == 2 * len(blocks), f"{page}: {fences} fences make {len(blocks)} blocks"
    return blocks


BLOCKS = {page: blocks_of(page) for page in PAGES}


def kind(block: Block) -> str:
    """Which rule takes a block; an error where none does."""
    if block.language == "python":
        statements = ast.parse(block.text).body
        defines = any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in statements)
        assigns = [node for node in statements if isinstance(node, ast.Assign)]
        others = [ast.unparse(node) for node in statements if not isinstance(node, ast.Assign)]
        if file_of(block) and (defines or not set(others) - {"from segkit.config import ref"}):
            return "module" if defines else "config"
        targets = {target.id for node in assigns for target in node.targets if isinstance(target, ast.Name)}
        return "sections" if not others and targets <= set(SECTIONS) else "snippet"
    rules = {"sh": "commands", "bash": "commands", "console": "session", "json": "json"}
    if block.language in rules:
        return rules[block.language]
    # a tree of files; what looks like a command belongs in a block that is run
    is_command = re.compile(rf"^\s*\$|^\s*(?:{'|'.join(PROGRAMS)})\s")
    assert block.language == "text", f"{block}: no rule takes a block of the language '{block.language}'"
    assert not any(map(is_command.match, block.text.splitlines())), f"{block}: commands belong in a block `sh`"
    return "text"


def file_of(block: Block) -> str | None:
    """The file whose text the block is, by its first line: "# my.py"."""
    found = re.match(r"# ([\w./-]+\.py)\n", block.text)
    return found[1] if found else None


def prose(page: str) -> str:
    return re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


def pieces_of_code(page: str) -> list[str]:
    """What stands between backticks in the sentences of a page."""
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose(page))]


def parse_mention(code: str) -> None:
    """A whole command, or only the name of one: `segkit prepare sbd`, `segkit train|test`."""
    program, *words = code.split(" ")
    if program != "segkit" or not all(re.fullmatch(r"[a-z_|]+", word) for word in words):
        return parse(code)
    for name in words[0].split("|"):
        assert name in COMMANDS, code
    source = Path(
        importlib.import_module(f"segkit.cli.{words[0].split('|')[0].replace('-', '_')}").__file__
    ).read_text()
    for word in words[1:]:
        assert f'"{word}"' in source, code


def find_name(name: str) -> bool:
    """Whether "segkit.a.b.C" is a module, or something in one."""
    words = name.split(".")
    for size in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:size]))
        except ModuleNotFoundError:
            continue
        for word in words[size:]:
            found = getattr(found, word, None)
        return found is not None
    return False


def anchors(file: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    heads = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


# commands


def commands(text: str) -> list[str]:
    """The lines of a shell block, continued ones joined, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def parse(line: str) -> None:
    """Parses a command by its own program; configs that it names are loaded and checked, other files may be missing."""
    line = re.sub(r"\[((?:--|-)[^\[\]]*(?:\[[^\[\]]*\])?[^\[\]]*)\]", r"\1", line)  # [--resume [FILE]] of a synopsis
    words = [word for word in shlex.split(line, comments=True) if not re.fullmatch(r"[A-Z]+=\S*", word)]
    program, *rest = words
    assert program in PROGRAMS, line
    PARSERS[program](rest)


def parse_segkit(words: list[str]) -> None:
    words = [word.strip("[]").removesuffix("...") for word in words]
    words = [word for word in words if word]
    assert words[0] in COMMANDS, words
    taken: list[argparse.Namespace] = []
    with patch.object(common, "run", lambda function, args: taken.append(args) or 0):
        try:
            main(words)
        except SystemExit:
            pytest.fail(f"segkit {shlex.join(words)}: the command does not take these arguments")
    (args,) = taken
    config = getattr(args, "config", None)
    if words[0] in ("test", "predict"):
        config, _ = common.split_config(getattr(args, "checkpoint", None) or args.words, config)
    if config is not None and not re.fullmatch("[A-Z]+", config):
        options = vars(args).get("cfg_options", ())  # segkit launch hands them on
        check(load_config(config, options), needed=() if words[0] == "analyze" else ("model",))


def parse_torchrun(words: list[str]) -> None:
    from torch.distributed.run import get_args_parser

    args = get_args_parser().parse_args(words)
    assert args.module and args.training_script == "segkit.cli.main", words
    parse_segkit([word for word in args.training_script_args if not word.startswith("$")])  # a variable with options


def find_targets(words: list[str]) -> None:
    for word in words:
        assert re.search(rf"^{word}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make {word}: no such target"


def find_extras(words: list[str]) -> None:
    assert words[0] == "install"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        for extra in re.findall(r"\[(.*)\]", word):
            assert set(extra.split(",")) <= set(extras), word


def find_script(words: list[str]) -> None:
    text = find_file(words[0]).read_text()
    if len(words) > 1 and text.startswith('"""segkit '):  # a script of tools/
        parse_segkit([text.split()[1], *words[1:]])
    for word in words[1:]:
        assert not word.startswith("--") or f'"{word}"' in text or "tools/" in words[0], f"{words}: no {word}"


def find_tests(words: list[str]) -> None:
    for word in words:
        if not word.startswith("-"):
            find_file(word)


def find_file(name: str) -> Path:
    assert (ROOT / name).exists(), f"{name}: no such file"
    return ROOT / name


PARSERS: dict[str, Callable[[list[str]], None]] = {
    "segkit": parse_segkit,
    "torchrun": parse_torchrun,
    "srun": lambda rest: parse(shlex.join(rest)),
    "make": find_targets,
    "pip": find_extras,
    "python": find_script,
    "pytest": find_tests,
    "export": lambda rest: None,
    "if": lambda rest: None,
}
assert set(PARSERS) == set(PROGRAMS)

TINY = "model={'backbone': {'type': 'tests.tiny:TinyBackbone'}, 'head': {'type': 'tests.tiny:TinyHead'}}"
SMALL = {
    "my.py": [TINY, "crop_size=(16,16)", "loop.steps=2", "loop.eval_every=2", "train.batch_size=2"],
    "cells.py": [TINY, "crop_size=(16,16)"],
    "one_channel.py": [],  # over cells.py
}
"""What makes the configs of README.md and docs/data.md small, once they were checked as they stand there."""

# stand-ins for the files that the pages' readers have


def png(path: str, array: np.ndarray) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(path, array.astype(np.uint8))


def shrink(name: str) -> None:
    workers = [f"{section}.workers=0" for section in ("train", "val", "test")]
    Path(name).write_text(dump(load_config(name, [*SMALL[name], *workers])))


def folder_of_masks() -> None:
    """README.md: my_data with masks of 0, 128, 255, and new images."""
    rng = np.random.default_rng(0)
    mask = np.repeat([0, 128, 255], 8)[None].repeat(20, 0)
    for split in ("train", "val"):
        for name in "ab":
            png(f"my_data/images/{split}/{name}.jpg", rng.integers(0, 256, (20, 24, 3)))
            png(f"my_data/masks/{split}/{name}.png", mask)
    png("new_images/a.jpg", rng.integers(0, 256, (20, 24, 3)))
    Path("my_data.py").write_text('_base_ = "segkit:recipes/small_cpu.py"\n')  # as segkit new writes it


def readme_config() -> None:
    """docs/training.md speaks of the config of README.md."""
    folder_of_masks()
    block = next(block for block in BLOCKS["README.md"] if file_of(block) == "my.py")
    Path("my.py").write_text(block.text)
    shrink("my.py")


def cells() -> None:
    """docs/data.md: twelve images, of whose pixels 5.3 % are cells; two of a format of one's own."""
    mask = np.zeros((120, 160))
    mask[40:72, 60:92] = 255
    for split, names in (("train", range(12)), ("val", range(2))):
        for name in names:
            png(f"cells/images/{split}/{name:03}.jpg", mask[..., None].repeat(3, 2))
            png(f"cells/masks/{split}/{name:03}.png", mask)
    for name in "ab":
        png(f"roads/{name}.jpg", np.full((10, 12, 3), 90))
        png(f"roads/{name}_labels.png", np.repeat([0, 7], 6)[None].repeat(10, 0))


def cells_and_config() -> None:
    """docs/streaming.md speaks of the images and the config of docs/data.md."""
    cells()
    block = next(block for block in BLOCKS["docs/data.md"] if file_of(block) == "cells.py")
    Path("cells.py").write_text(block.text)


def boxes() -> None:
    """docs/box_supervised.md: boxes of two objects for training, outlines for validation."""
    photo = np.full((48, 64, 3), 60)
    photo[10:30, 8:28] = 220
    categories = [dict(id=i, name=name) for i, name in enumerate("abc", 1)]
    for split in ("train", "val"):
        png(f"my_data/images/{split}.jpg", photo)
        box = dict(id=1, image_id=1, category_id=1, bbox=[8, 10, 20, 20], area=400, iscrowd=0)
        outline = {} if split == "train" else dict(segmentation=[[8, 10, 28, 10, 28, 30, 8, 30]])
        images = [dict(id=1, file_name=f"{split}.jpg", height=48, width=64)]
        content = dict(images=images, categories=categories, annotations=[box | outline])
        Path(f"my_data/{split}.json").write_text(json.dumps(content))
    png("photos/a.jpg", photo)


def street() -> None:
    """docs/class_balance.md: one image in CamVid's layout."""
    png("data/camvid/train/a.png", np.zeros((6, 12, 3)))
    png("data/camvid/trainannot/a.png", np.arange(12)[None].repeat(6, 0))


def competition() -> None:
    """docs/competitions.md: six images in the layout of Understanding Clouds."""
    from tests.competitions import made

    made.clouds(Path("data/clouds"))


def trees() -> None:
    """Two images with an object each, one of which has a hole, in COCO's format."""
    images = [dict(id=number, file_name=f"{number}.png", height=20, width=30) for number in (1, 2)]
    square = dict(category_id=1, segmentation=[[2, 2, 8, 2, 8, 8, 2, 8]], bbox=[2, 2, 6, 6])
    # an outer border of 4 x 4 pixels around a hole of 2 x 2, columns first
    ring = dict(size=[20, 30], counts=[0, 4, 16, 1, 2, 1, 16, 1, 2, 1, 16, 4, 536])
    rows = [square, dict(category_id=2, segmentation=ring, bbox=[0, 0, 4, 4], iscrowd=0)]
    rows = [dict(row, id=number, image_id=number) for number, row in enumerate(rows, 1)]
    Path("trees").mkdir()
    for image in images:
        cv2.imwrite(f"trees/{image['file_name']}", np.zeros((20, 30, 3), np.uint8))
    categories = [dict(id=1, name="oak"), dict(id=2, name="elm")]
    Path("trees/labels.json").write_text(json.dumps(dict(images=images, annotations=rows, categories=categories)))
    for name in ("trees", "streets", "scans"):  # as segkit new writes them
        Path(f"{name}.py").write_text('_base_ = "segkit:recipes/small_cpu.py"\n')


def pedestrians() -> None:
    """docs/results_semantic.md: what segkit new writes."""
    Path("pedestrians.py").write_text('_base_ = "segkit:recipes/small_cpu.py"\n')


def other_toolboxes() -> None:
    """docs/coming_from.md: configs of mmsegmentation's form; what segkit new writes of an ultralytics folder."""
    shutil.copytree(ROOT / "tests/fixtures/migrate", "mmseg")
    Path("trees.py").write_text('_base_ = "segkit:recipes/small_cpu.py"\n')


def streets() -> None:
    """docs/labelling_loop.md: what segkit new writes."""
    Path("streets.py").write_text('_base_ = "segkit:recipes/small_cpu.py"\n')


def published_file() -> None:
    """docs/tutorials/fine_tune.md: the file that torchvision's constructor makes, with random weights."""
    import torch
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)
    torch.save(network.state_dict(), "lraspp.pth")


STAND_INS = {
    "docs/tutorials/fine_tune.md": published_file,
    "docs/tutorials/many_gpus.md": readme_config,
    "docs/coming_from.md": other_toolboxes,
    "docs/cookbook.md": readme_config,
    "docs/labelling_loop.md": streets,
    "docs/results_semantic.md": pedestrians,
    "README.md": folder_of_masks,
    "docs/training.md": readme_config,
    "docs/data.md": cells,
    "docs/streaming.md": cells_and_config,
    "docs/box_supervised.md": boxes,
    "docs/class_balance.md": street,
    "docs/competitions.md": competition,
    "docs/own_data.md": trees,
}
