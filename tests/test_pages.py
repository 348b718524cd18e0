"""README.md and docs/ are true: each fenced block loads, runs or is parsed, and what pages name is there.

Two pages have tests of their own that also train: tests/interactive/test_page.py, tests/incremental/test_steps_page.py.
"""

import ast
import builtins
import contextlib
import glob
import importlib
import io
import json
import re
import shlex
import shutil
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segkit.cli.main import main
from segkit.config import SECTIONS, load_config
from segkit.registry import HEADS
from segkit.schema import PLAIN, check
from segkit.types import Meta, Sample
from tests.pages import (
    BLOCKS,
    PAGES,
    PROGRAMS,
    ROOT,
    SLOW,
    STAND_INS,
    Block,
    anchors,
    commands,
    file_of,
    find_name,
    kind,
    parse,
    parse_mention,
    pieces_of_code,
    shrink,
)

NOT_RUN = {
    ("README.md", "pip"): "needs a network; tests/test_wheel.py installs the package",
    ("README.md", "make"): "makes an environment; the targets are looked up",
    ("docs/training.md", "segkit"): "placeholders for files",
    ("docs/audit.md", "segkit"): "placeholders for files; run by tests/test_audit_command.py",
    ("docs/training.md", "torchrun"): "needs four GPUs",
    ("docs/several_machines.md", "torchrun"): "needs several machines; run by tests/test_nodes.py",
    ("docs/several_machines.md", "segkit launch"): "needs a cluster; run by tests/test_launch.py",
    ("docs/sharded_models.md", "torchrun"): "needs eight GPUs",
    ("README.md", "segkit new"): "run by tests/test_own_data.py",
    ("README.md", "segkit train my_data.py"): "run by tests/test_own_data.py",
    ("README.md", "segkit predict work_dirs/my_data"): "run by tests/test_own_data.py",
    ("docs/own_data.md", "segkit new"): "run by tests/test_own_data.py",
    ("docs/own_data.md", "segkit train"): "run by tests/test_own_data.py",
    ("docs/own_data.md", "segkit predict"): "run by tests/test_own_data.py",
    ("docs/own_data.md", "segkit convert-labels scans"): "run by tests/test_own_data.py",
    ("docs/data.md", "segkit predict best.pt"): "run by tests/test_large_predict.py",
    ("docs/exports.md", "segkit"): "run by tests/test_export.py",
    ("docs/box_supervised.md", "pip"): "needs a network; tests/test_wheel.py holds what it says",
    ("docs/box_supervised.md", "segkit train segkit:box_supervised/mal"): "needs COCO; run small by its tests",
    ("docs/box_supervised.md", "segkit label"): "needs a network of the hub; run by tests/instances/test_label.py",
    ("docs/labelling_loop.md", "segkit annotate"): "a page for people; run by its own tests",
    ("docs/labelling_loop.md", "segkit audit"): "run by its own tests",
    ("docs/labelling_loop.md", "segkit"): "minutes on real images; run by tests/labelling/test_loop.py",
    ("docs/multi_task.md", "segkit"): "minutes to an hour on real images",
    ("docs/refiners.md", "segkit"): "run by tests/refiners/test_refine_command.py and test_segfix.py",
    ("docs/results_semantic.md", "segkit"): "minutes to hours on real images; recorded",
    ("docs/results_semantic.md", "python benchmarks"): "minutes to hours on real images; recorded",
    ("docs/results_interactive.md", "segkit"): "minutes to hours on real images; recorded",
    ("docs/results_incremental.md", "segkit"): "minutes to hours on real images; recorded",
    ("docs/results_instances.md", "segkit"): "minutes to hours on real images; recorded",
    ("docs/box_supervised.md", "segkit convert"): "needs the published file",
    ("docs/self_training.md", "segkit"): "minutes on real images; run small by tests/self_training",
    ("docs/evaluation.md", "segkit"): "run by tests/analysis/test_commands.py",
    ("docs/incremental.md", "segkit"): "run by tests/incremental/test_steps_page.py",
    ("docs/interactive.md", "segkit"): "run by tests/interactive/test_page.py",
    ("docs/searched_networks.md", "segkit"): "run by tests/test_auto_deeplab.py",
    ("docs/cookbook.md", "segkit train my.py"): "run by tests/test_cli.py and tests/test_resume.py",
    ("docs/cookbook.md", "segkit benchmark"): "run by tests/test_cli.py",
    ("docs/cookbook.md", "segkit average"): "run by tests/test_averaging.py",
    ("docs/cookbook.md", "segkit sweep"): "run by tests/test_sweep.py",
    ("docs/cookbook.md", "segkit predict"): "run by tests/test_predict.py",
    ("docs/cookbook.md", "segkit test"): "run by tests/test_cli.py",
    ("docs/cookbook.md", "segkit export"): "run by tests/test_export.py",
    ("docs/cookbook.md", "segkit serve"): "run by tests/test_serve.py",
    ("docs/cookbook.md", "segkit convert"): "needs the published file; run by tests/test_convert.py",
    ("docs/cookbook.md", "segkit compare"): "run by tests/analysis/test_commands.py",
    ("docs/cookbook.md", "torchrun"): "needs four processes; run by tests/test_several_machines.py",
    ("docs/coming_from.md", "segkit train"): "hours on real images; `--check` needs them",
    ("docs/coming_from.md", "segkit convert"): "needs published files",
    ("docs/coming_from.md", "segkit test"): "needs published files",
    ("docs/coming_from.md", "segkit new"): "run by tests/test_own_data.py",
    ("docs/coming_from.md", "segkit predict"): "run by tests/test_own_data.py",
    ("docs/coming_from.md", "segkit convert-labels"): "run by tests/test_own_data.py",
    ("docs/annotate.md", "pip"): "needs a network; tests/test_wheel.py holds what it says",
    ("docs/annotate.md", "segkit"): "a server; run by tests/annotate",
    ("docs/tutorials/many_gpus.md", "segkit"): "run of docs/training.md; segkit launch by tests/test_launch.py",
    ("docs/tutorials/many_gpus.md", "torchrun"): "needs four GPUs",
    ("docs/tutorials/ship_it.md", "pip"): "needs a network; tests/test_wheel.py holds what it says",
    ("docs/tutorials/ship_it.md", "segkit serve"): "a server; run by tests/test_serve.py",
    ("notebooks/README.md", "pip"): "needs a network; tests/test_wheel.py installs the package",
    ("docs/serving.md", "pip"): "needs a network; tests/test_wheel.py holds what it says",
    ("docs/serving.md", "segkit"): "run by tests/test_runtime.py, tests/test_serve.py and tests/test_push.py",
}
"""Commands of blocks, by page and beginning, that are parsed (with their configs loaded and checked) but not run."""

NAMES_ONLY = {
    ("docs/incremental.md", "add_classes(model, 1)"): "run by tests/incremental/test_steps_page.py",
    ("docs/recipe.md", "try_out("): "run by tests/recipe",
    ("docs/annotate.md", "Folder("): "needs annotated images; run by tests/annotate",
    ("docs/cookbook.md", "predict_only=True"): "run by tests/test_api.py",
    ("docs/cookbook.md", '"fcn.pth"'): "needs the published file; run by tests/test_api.py",
    ("docs/serving.md", "load_exported("): "run by tests/test_runtime.py",
    ("docs/serving.md", "urlopen("): "needs a server; run by tests/test_serve.py",
    ("docs/tutorials/fine_tune.md", 'weights="DEFAULT"'): "downloads; a stand-in has the same names",
    ("docs/tutorials/ship_it.md", "urlopen("): "needs a server; run by tests/test_serve.py",
    ("docs/training.md", "np.load("): "run by tests/test_ensemble.py",
    ("docs/interactive.md", "PromptModel"): "needs transformers; run by tests/interactive/test_oracles_prompts.py",
    ("docs/interactive.md", "click_predictor(model)"): "run by tests/interactive/test_page.py",
}
"""Snippets, by page and a piece of their text, whose imports and names are looked up without running them."""

RECORDED = ("docs/class_balance.md",)
"""Pages whose output was recorded on real images: of each of its lines the first word is compared."""

SCRIPTS = {
    "README.md": "says once that the scripts of tools/ are the same",
    "docs/training.md": "says that mmsegmentation's order works",
    "benchmarks/results.md": "says what benchmarks/startup.py measures",
}
"""Pages that may name the scripts of tools/; all others write `segkit ...`."""

OVER = {"docs/interactive.md": "cells.py"}
"""The config over which single sections of a page are checked, where it is not the quickstart."""

FEW = {
    ("docs/box_supervised.md", "segkit train segkit:quickstart"): "loop.steps=1 runner.growth=1 train.batch_size=2 "
    "train.dataset.length=2 val.dataset.length=2 test.dataset.length=2",
    ("docs/competitions.md", "segkit train"): "model.backbone={'type':'PlainEncoder','channels':(8,8,8,8)} "
    "model.head.channels=(8,8,8,8) crop_size=(32,48) loop.epochs=1 loop.amp=off train.batch_size=2 train.workers=0 "
    "val.workers=0 test.workers=0 val.dataset.scored_size=(20,30) test.dataset.scored_size=(20,30)",
    ("docs/tutorials/ship_it.md", "segkit train"): "loop.steps=20 loop.eval_every=20 loop.save_every=20 "
    "train.batch_size=4 train.dataset.length=80 val.dataset.length=8",
    ("docs/box_supervised.md", "segkit train my.py"): "model.backbone={'type':'PlainEncoder','channels':(8,8,8,8)} "
    "model.neck.channels=16 model.head.channels=16 model.head.depth=1 model.head.groups=4 model.head.grids=(4,4,3,2,2) "
    "loop.epochs=1 schedule.warmup.steps=0 train.batch_size=1 train.sampler={'type':'Shuffle'} "
    "train.transforms=[{'type':'BoxMasks'}] val.transforms=[] test.transforms=[] "
    "train.workers=0 val.workers=0 test.workers=0",
}
"""Overrides that make a command of a page a matter of seconds, by page and beginning."""


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


# a rule per kind of block


def take_config(block: Block) -> None:
    """A config file: it loads and every key fits. One that the repository has, too, has the same values there."""
    name = file_of(block)
    if (ROOT / name).is_file():
        assert dict(load_config(name)) == dict(load_config(ROOT / name)), f"{block}: differs from the file"
    if "_base_/models" in name:  # the config over it sets the number of classes
        Path("whole.py").write_text(f"_base_ = {name!r}\nnum_classes = 3\n")
        name = "whole.py"
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


def probe_loss(cls: type) -> None:
    logits = torch.zeros(1, 2, 1, 3)  # the true class has the probability 0.5, one of three pixels is ignored
    assert cls(power=2.0)(logits, torch.tensor([[[0, 1, 255]]])) == 0.25


def probe_certainty(cls: type) -> None:
    logits = torch.tensor([[[[0.0, 100.0, 3.0]], [[0.0, -100.0, 1.0]]]])  # evenly unsure, sure, ignored
    assert cls()(logits, torch.tensor([[[0, 1, 255]]])).item() == pytest.approx(np.log(2) / 2)


def probe_metric(cls: type) -> None:
    metric = cls()
    metric.start(SimpleNamespace(ignore=255))
    metric.reset()
    assert metric.compute() == {"wrong": None}
    metric.update([{"labels": torch.tensor([[0, 1, 1]])}], {"mask": [torch.tensor([[0, 0, 255]])]})
    assert metric.compute() == {"wrong": 50.0}


PROBES = {
    "TinyHead": probe_head,
    "Invert": probe_transform,
    "Mine": lambda cls: cls("roads").sample(0, None),
    "Rates": lambda cls: cls(),
    "PixelHead": lambda cls: cls((4, 8), 3)([torch.rand(2, 8, 4, 4)])["logits"].shape == (2, 3, 4, 4),
    "PowerError": probe_loss,
    "Certainty": probe_certainty,
    "Wrong": probe_metric,
    "Stopwatch": lambda cls: cls(),
    "Noisy": lambda cls: cls(sigma=1.0),
}


def take_sections(block: Block) -> None:
    check_sections(block.text, block.page)


def check_sections(text: str, page: str) -> None:
    """Single sections, each an alternative of its own: they fit over the config that the page is about."""
    base = OVER.get(page, "segkit:quickstart/semantic.py")
    for node in ast.parse(text).body:
        Path("sections.py").write_text(f"_base_ = {base!r}\n{ast.unparse(node)}\n")
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
    assert block.text.startswith("$ "), block
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
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


def run(line: str, page: str) -> list[str]:
    """Runs a command of segkit; returns the lines that it prints."""
    words = shlex.split(line, comments=True)
    assert words[0] == "segkit", f"{page}: nothing runs {line!r}; add it to NOT_RUN with the reason"
    few = [options for (at, beginning), options in FEW.items() if at == page and line.startswith(beginning)]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main([*words[1:], *(["--cfg-options", *few[0].split()] if few else [])])
    printed = out.getvalue().splitlines()
    shows_error = any(line in block.text and "ConfigError: " in block.text for block in BLOCKS[page])
    assert code == (2 if shows_error else 0), f"{line}\n{out.getvalue()}"
    return printed


# the tests


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The reader's folder; what its modules register and import is forgotten afterwards."""
    # the network that stands in for a page's lies in the tests, which is outside of segkit
    for module in ("segkit.runners.loading", "segkit.runners.inputs"):
        monkeypatch.setattr(f"{module}.check_foreign", lambda *_: None)
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


def write_files(page: str) -> None:
    """What the reader of a page has: the configs, the page's own files, and stand-ins for others."""
    shutil.copytree(ROOT / "configs", "configs")
    STAND_INS.get(page, lambda: None)()
    for block in BLOCKS[page]:
        if name := file_of(block):
            path = Path(name) if kind(block) == "config" else Path(Path(name).name)
            path.write_text(block.text)


@pytest.mark.parametrize("page", SLOW)
def test_a_page_that_trains_without_its_trainings(page, place):
    """Its configs fit, its commands are parsed, its snippets compile; test_page runs them."""
    write_files(page)
    for block in BLOCKS[page]:
        if kind(block) == "commands":
            for line in commands(block.text):
                parse(line)
        elif kind(block) == "snippet":
            compile(block.text, str(block), "exec")
        else:
            RULES[kind(block)](block)


@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.slow] * (page in SLOW)) for page in PAGES])
def test_page(page, place):
    """The blocks of a page, in their order, in the folder of a reader who has its files; commands in its sentences."""
    write_files(page)
    for block in BLOCKS[page]:
        try:
            RULES[kind(block)](block)
        except Exception as error:
            error.add_note(f"the block {block}:\n{block.text}")
            raise
    for code in pieces_of_code(page):
        if re.match(r"(?:from|import) \w", code):
            exec(code, {})
        elif re.match(rf"(?:{'|'.join(SECTIONS)}) = ", code):
            check_sections(code, page)
        elif re.match(rf"(?:[A-Z]+=\S+ )?(?:{'|'.join(PROGRAMS)}) ", code):
            parse_mention(code)


PATHS = re.compile(r"(?:^|(?<=[ \"]))(?:(?:segkit|tests|configs|docs|benchmarks|tools)/|segkit:|_base_/)[\w./*-]+")
"""Files and folders of the repository, and names of packaged configs, in a piece of code."""


@pytest.mark.parametrize("page", PAGES)
def test_names_of_a_page(page):
    """Names of segkit can be imported, files and folders of the repository exist, links lead somewhere."""
    text = (ROOT / page).read_text()
    for name in set(re.findall(r"\bsegkit(?:\.[a-zA-Z_]\w*)+", text)):
        assert find_name(name), f"{page}: {name}"
    for code in {*pieces_of_code(page), *re.findall(r"[\"'](segkit:[^\"']+)", text)}:
        for path in PATHS.findall(code):
            inner = path.removeprefix("segkit:")
            inner = f"configs/{inner}" if path.startswith(("segkit:", "_base_")) else path
            assert glob.glob(str(ROOT / inner)), f"{page}: {path}"
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(file), f"{page}: {target}#{anchor}"
    if page not in SCRIPTS:
        assert not re.search(r"\btools/\w+\.py", text), f"{page}: commands are written `segkit ...`"


def test_the_table_of_sections():
    """docs/config.md names every key of the sections that are plain."""
    rows = re.findall(r"^\| (`[\w`, ]+`) \| (.*) \|$", (ROOT / "docs/config.md").read_text(), re.MULTILINE)
    named = {section: row for sections, row in rows for section in re.findall(r"\w+", sections)}
    assert set(named) == set(SECTIONS)
    for section in ("train", "val", "test", "loop", "inference", "init"):
        words = set(re.findall(r"\w+", named[section]))
        missing = {field.name for field in fields(PLAIN[section])} - words
        assert not missing, f"{section}: {missing}"
