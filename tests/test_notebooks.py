"""The notebooks: their form, their links and names, and (slow) every cell in its order in a fresh namespace."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

from tests.pages import ROOT, anchors

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
REPOSITORY = re.search(r"replace\s+`([\w.-]+/[\w.-]+)`", (FOLDER / "README.md").read_text(encoding="utf-8"))[1]
MOST_BYTES = 300_000


def cells_of(name: str) -> list[dict]:
    return json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


def sources(name: str, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in cells_of(name) if cell["cell_type"] == kind]


def test_the_page_lists_them_and_they_are_small():
    listed = re.findall(r"\((\w+)\.ipynb\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == NOTEBOOKS
    assert sum((FOLDER / f"{name}.ipynb").stat().st_size for name in NOTEBOOKS) < MOST_BYTES


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_form(name):
    """nbformat 4.5: what Jupyter, Colab and GitHub read. Outputs are stored, and none is an error."""
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["language"] == "python"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[\w-]{1,64}", value) for value in ids)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert kinds and kinds <= {"stream", "display_data", "execute_result"}
    text = json.dumps([cell["outputs"] for cell in code])
    assert not re.search(r"/(?:tmp|home|root|work)/", text), "an output names a folder of the machine that made it"
    prose = sources(name, "markdown")
    assert re.match(r"# \w", prose[0]) and prose[-1].startswith("## What next\n")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_names_and_links(name):
    """Cells compile without IPython, what they import from segkit is there, and links lead somewhere."""
    for source in sources(name, "code"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("segkit"):
                module = importlib.import_module(node.module)
                assert not [entry.name for entry in node.names if not hasattr(module, entry.name)], source
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "segkit":
                assert hasattr(importlib.import_module("segkit"), node.attr), node.attr
    text = "\n\n".join(sources(name, "markdown"))
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        assert (FOLDER / target).is_file(), target
        assert not anchor or anchor in anchors(FOLDER / target), f"{target}#{anchor}"
    assert f"(https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks/{name}.ipynb)" in text
    assert f"git+https://github.com/{REPOSITORY}" in sources(name, "code")[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_cell_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    names: dict = {"__name__": "__main__"}
    for number, source in enumerate(sources(name, "code"), 1):
        exec(compile(source, f"{name}.ipynb, cell {number}", "exec"), names)
    assert list(Path("work_dirs").rglob("last.pt")) or name == "exploring_data"
