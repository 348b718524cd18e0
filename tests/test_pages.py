"""README.md and docs/ are true: each fenced block loads, runs or is parsed, and what pages name is there.

Two pages have tests of their own that also train: tests/interactive/test_page.py, tests/incremental/test_steps_page.py.
"""

import argparse
import ast
import builtins
import contextlib
import glob
import importlib
import io
import json
import re
import shlex
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch

from segkit.cli import common
from segkit.cli.main import COMMANDS, main
from segkit.config import SECTIONS, dump, load_config
from segkit.registry import HEADS
from segkit.schema import PLAIN, check
from segkit.types import Meta, Sample

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")), "benchmarks/results.md"]
PROGRAMS = ("segkit", "torchrun", "srun", "make", "pip", "python", "pytest", "export")
"""What a line of a shell block, or a piece of code in a sentence, may begin with to be a command."""

NOT_RUN = {
    ("README.md", "make"): "makes an environment; the targets are looked up",
    ("docs/training.md", "segkit"): "placeholders for files",
    ("docs/training.md", "torchrun"): "needs four GPUs",
    ("docs/training.md", "srun"): "needs a cluster",
    ("docs/training.md", "export"): "needs a cluster",
    ("docs/results.md", "segkit"): "minutes to hours on real images; recorded",
    ("docs/box_supervised.md", "segkit convert"): "needs the published file",
    ("docs/incremental.md", "segkit"): "run by tests/incremental/test_steps_page.py",
    ("docs/interactive.md", "segkit"): "run by tests/interactive/test_page.py",
}
"""Commands of blocks, by page and beginning, that are parsed (with their configs loaded and checked) but not run."""

NAMES_ONLY = {
    ("docs/incremental.md", "add_classes(model, 1)"): "run by tests/incremental/test_steps_page.py",
    ("docs/interactive.md", "click_predictor(model)"): "run by tests/interactive/test_page.py",
}
"""Snippets, by page and a piece of their text, whose imports and names are looked up without running them."""

RECORDED = ("docs/class_balance.md",)
"""Pages whose output was recorded on real images: of each of its lines the first word is compared."""

SCRIPTS = {
    "README.md": "says once that the scripts of tools/ are the same",
    "docs/training.md": "says that mmsegmentation's order works",
    "docs/model_zoo.md": "written by docs/make_model_zoo.py",
    "benchmarks/results.md": "says what benchmarks/startup.py measures",
}
"""Pages that may name the scripts of tools/; all others write `segkit ...`."""

TINY = "model={'backbone': {'type': 'tests.tiny:TinyBackbone'}, 'head': {'type': 'tests.tiny:TinyHead'}}"
SMALL = {
    "my.py": [TINY, "crop_size=(16,16)", "loop.steps=2", "loop.eval_every=2", "train.batch_size=2"],
    "cells.py": [TINY, "crop_size=(16,16)"],
}
"""What makes the configs of README.md and docs/data.md small, once they were checked as they stand there."""

FEW = {
    ("docs/box_supervised.md", "segkit train segkit:quickstart"): [
        *(
            "loop.steps=1",
            "runner.growth=2",
            "train.dataset.length=16",
            "val.dataset.length=2",
            "test.dataset.length=2",
        ),
    ],
    ("docs/box_supervised.md", "segkit train my.py"): [
        *("model.backbone.name=resnet18", "model.backbone.pretrained=none", "model.head.channels=32", "loop.steps=1"),
        *("train.transforms=[{'type': 'BoxMasks'}]", "train.batch_size=1", "train.sampler={'type': 'Shuffle'}"),
        *("val.transforms=[]", "test.transforms=[]", "train.workers=0", "val.workers=0", "test.workers=0"),
    ],
}
"""Overrides that make a command of a page a matter of seconds, by page and beginning."""


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


def test_blocks_that_no_rule_takes():
    for block in (
        Block("p", 1, "", "segkit train my.py"),
        Block("p", 1, "text", "segkit train my.py"),
        Block("p", 1, "text", "$ ls"),
        Block("p", 1, "yaml", "model: {}"),
    ):
        with pytest.raises(AssertionError):
            kind(block)
    kinds = {kind(block) for blocks in BLOCKS.values() for block in blocks}
    assert kinds == set(RULES), kinds ^ set(RULES)


def test_the_tables_of_exceptions_name_what_is_there():
    for page, beginning in NOT_RUN:
        lines = [line for block in BLOCKS[page] if kind(block) == "commands" for line in commands(block.text)]
        assert any(line.startswith(beginning) for line in lines), (page, beginning)
    for page, piece in NAMES_ONLY:
        assert any(piece in block.text for block in BLOCKS[page]), (page, piece)


# stand-ins for the files that the pages' readers have


def png(path: str, array: np.ndarray) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(path, array.astype(np.uint8))


def folder_of_masks() -> None:
    """README.md: my_data with masks of 0, 128, 255, and new images."""
    rng = np.random.default_rng(0)
    mask = np.repeat([0, 128, 255], 8)[None].repeat(20, 0)
    for split in ("train", "val"):
        for name in "ab":
            png(f"my_data/images/{split}/{name}.jpg", rng.integers(0, 256, (20, 24, 3)))
            png(f"my_data/masks/{split}/{name}.png", mask)
    png("new_images/a.jpg", rng.integers(0, 256, (20, 24, 3)))


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


STAND_INS = {
    "README.md": folder_of_masks,
    "docs/training.md": readme_config,
    "docs/data.md": cells,
    "docs/box_supervised.md": boxes,
    "docs/class_balance.md": street,
}


def shrink(name: str) -> None:
    workers = [f"{section}.workers=0" for section in ("train", "val", "test")]
    Path(name).write_text(dump(load_config(name, [*SMALL[name], *workers])))


# a rule per kind of block


def take_config(block: Block) -> None:
    """A config file: it loads and every key fits. One that the repository has, too, has the same values there."""
    name = file_of(block)
    if (ROOT / name).is_file():
        assert dict(load_config(name)) == dict(load_config(ROOT / name)), f"{block}: differs from the file"
    if "_base_/models" in name:
        whole = Path("whole.py")
        whole.write_text(f"_base_ = {str(Path(name).absolute())!r}\nnum_classes = 3\n")
        name = whole
    trains = "model" in load_config(name)
    check(load_config(name), needed=("model",) if trains else ())
    if block.page in ("README.md", "docs/data.md"):
        shrink(name)


def take_module(block: Block) -> None:
    """A module of the reader's: it is imported, and its classes answer."""
    module = importlib.import_module(Path(file_of(block)).stem)
    for cls in (value for value in vars(module).values() if isinstance(value, type)):
        if cls.__module__ == module.__name__:
            PROBES[cls.__name__](cls)


def probe_head(cls: type) -> None:
    outputs = cls((4, 8), 3)([torch.rand(2, 4, 8, 8), torch.rand(2, 8, 4, 4)])
    assert outputs["logits"].shape == (2, 3, 4, 4) and outputs["embedding"].shape[1] == 128


def probe_transform(cls: type) -> None:
    image = np.full((4, 6, 3), 200, np.uint8)
    sample = Sample(image=image, meta=Meta(id="a", path="a", size=(4, 6), valid=(4, 5)))
    changed = cls(p=1.0)(sample, np.random.default_rng(0))["image"]
    assert (changed[:, :5] == 55).all() and (changed[:, 5:] == 200).all() and (image == 200).all()


PROBES = {"TinyHead": probe_head, "Invert": probe_transform, "Mine": lambda cls: cls("roads").sample(0, None)}


def take_sections(block: Block) -> None:
    """Single sections, each an alternative of its own: they fit over the quickstart."""
    for node in ast.parse(block.text).body:
        Path("sections.py").write_text(f"_base_ = 'segkit:quickstart/semantic.py'\n{ast.unparse(node)}\n")
        check(load_config("sections.py"))


def take_snippet(block: Block) -> None:
    """Python: it runs, or its imports and names are there."""
    code = compile(block.text, str(block), "exec")
    if not any(block.page == page and piece in block.text for page, piece in NAMES_ONLY):
        exec(code, {"__name__": "snippet"})
        return
    names: dict = {}
    tree = ast.parse(block.text)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), str(block), "exec"), names)
    words = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    known = {*names, *vars(builtins), *(word.id for word in words if isinstance(word.ctx, ast.Store))}
    assert {word.id for word in words} <= known
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            assert hasattr(names[node.value.id], node.attr), f"{block}: {ast.unparse(node)}"


def take_commands(block: Block) -> None:
    for line in commands(block.text):
        parse(line)
        if not any(block.page == page and line.startswith(beginning) for page, beginning in NOT_RUN):
            run(line, block.page)


def take_session(block: Block) -> None:
    """Commands after "$ ", each with what it prints."""
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
        parse(command)
        printed, wanted = run(command, block.page), shown.splitlines()
        if block.page in RECORDED:
            printed, wanted = ([line.split()[0] for line in lines] for lines in (printed, wanted))
        rest = iter(printed)
        for line in wanted:
            assert line in rest, f"{block}: {line!r} is not printed, or not in this place: {printed}"


def take_json(block: Block) -> None:
    assert isinstance(json.loads(block.text), dict)


RULES = {
    "config": take_config,
    "module": take_module,
    "sections": take_sections,
    "snippet": take_snippet,
    "commands": take_commands,
    "session": take_session,
    "json": take_json,
    "text": lambda block: None,
}


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
    {
        "segkit": parse_segkit,
        "torchrun": parse_torchrun,
        "srun": lambda rest: parse(shlex.join(rest)),
        "make": find_targets,
        "pip": find_extras,
        "python": find_script,
        "pytest": lambda rest: [find_file(word) for word in rest if not word.startswith("-")],
        "export": lambda rest: None,
    }[program](rest)


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
        check(load_config(config, args.cfg_options), needed=() if words[0] == "analyze" else ("model",))


def parse_torchrun(words: list[str]) -> None:
    from torch.distributed.run import get_args_parser

    args = get_args_parser().parse_args(words)
    assert args.module and args.training_script == "segkit.cli.main", words
    parse_segkit(args.training_script_args)


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
    if text.startswith('"""segkit '):  # a script of tools/
        parse_segkit([text.split()[1], *words[1:]])
    for word in words[1:]:
        assert not word.startswith("--") or f'"{word}"' in text or "tools/" in words[0], f"{words}: no {word}"


def find_file(name: str) -> Path:
    assert (ROOT / name).exists(), f"{name}: no such file"
    return ROOT / name


def run(line: str, page: str) -> list[str]:
    """Runs a command of segkit; returns the lines that it prints."""
    words = shlex.split(line, comments=True)
    assert words[0] == "segkit", f"{page}: nothing runs {line!r}; add it to NOT_RUN with the reason"
    few = [options for (at, beginning), options in FEW.items() if at == page and line.startswith(beginning)]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main([*words[1:], *(["--cfg-options", *few[0]] if few else [])])
    printed = out.getvalue().splitlines()
    shows_error = any(line in block.text and "ConfigError: " in block.text for block in BLOCKS[page])
    assert code == (2 if shows_error else 0), f"{line}\n{out.getvalue()}"
    return printed


# the tests


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The reader's folder; what its modules register and import is forgotten afterwards."""
    HEADS.names()
    monkeypatch.setattr(HEADS, "_classes", dict(HEADS._classes))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("SEGKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES)
def test_page(page, place):
    """The blocks of a page, in their order, in the folder of a reader who has its files; commands in its sentences."""
    (place / "configs").symlink_to(ROOT / "configs")
    STAND_INS.get(page, lambda: None)()
    for block in BLOCKS[page]:
        name = file_of(block)
        if name and not (ROOT / name).exists():
            path = Path(name) if kind(block) == "config" else Path(Path(name).name)
            path.write_text(block.text)
    for block in BLOCKS[page]:
        try:
            RULES[kind(block)](block)
        except Exception as error:
            error.add_note(f"the block {block}:\n{block.text}")
            raise
    for code in pieces_of_code(page):
        if code.partition(" ")[0] in PROGRAMS and " " in code:
            parse_mention(code)


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
    source = Path(importlib.import_module(f"segkit.cli.{words[0].split('|')[0]}").__file__).read_text()
    for word in words[1:]:
        assert f'"{word}"' in source, code


@pytest.mark.parametrize("page", PAGES)
def test_names_of_a_page(page):
    """Names of segkit can be imported, files and folders of the repository exist, links lead somewhere."""
    text = (ROOT / page).read_text()
    for name in set(re.findall(r"\bsegkit(?:\.[a-zA-Z_]\w*)+", text)):
        assert find_name(name), f"{page}: {name}"
    for code in {*pieces_of_code(page), *re.findall(r"[\"'](segkit:[^\"']+)", text)}:
        for path in re.findall(
            r"(?:^|(?<=[ \"]))(?:(?:segkit|tests|configs|docs|benchmarks|tools)/|segkit:|_base_/)[\w./-]+", code
        ):
            inner = path.removeprefix("segkit:")
            inner = f"configs/{inner}" if path.startswith(("segkit:", "_base_")) else path
            assert glob.glob(str(ROOT / inner)), f"{page}: {path}"
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(file), f"{page}: {target}#{anchor}"
    if page not in SCRIPTS:
        assert not re.search(r"\btools/\w+\.py", text), f"{page}: commands are written `segkit ...`"


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


def test_the_table_of_sections():
    """docs/config.md names every key of the sections that are plain."""
    rows = re.findall(r"^\| (`[\w`, ]+`) \| (.*) \|$", (ROOT / "docs/config.md").read_text(), re.MULTILINE)
    named = {section: row for sections, row in rows for section in re.findall(r"\w+", sections)}
    assert set(named) == set(SECTIONS)
    for section in ("train", "val", "test", "loop", "inference", "init"):
        words = set(re.findall(r"\w+", named[section]))
        missing = {field.name for field in fields(PLAIN[section])} - words
        assert not missing, f"{section}: {missing}"
