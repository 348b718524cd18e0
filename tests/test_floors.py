"""The house rules that a machine can hold: import floors, no cycles, sizes, citations, empty package faces."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "segkit").rglob("*.py"))
FLOORS = (
    ("registry", "types", "dist", "files", "constraints"),
    ("readers", "settings"),
    ("config", "ops"),
    (
        "schema",
        "ops.interactive",
        "ops.incremental",
        "ops.instances",
        "ops.self_training",
        "ops.refining",
        "data.dataset",
    ),
    ("models", "data.files"),
    ("data.transforms", "data.formats", "data.large", "data.shards"),
    ("backbones", "archs", "refiners", "losses", "metrics", "convert", "data", "windows"),
    (
        "analysis",
        "losses.incremental",
        "losses.instances",
        "convert.maps",
        "viz",
        "criterion",
        "inference",
        "data.semantic",
        "data.splits",
    ),
    ("data.interactive", "data.incremental", "data.instances", "viz.page"),
    ("data.refining", "data.prepare", "engine"),
    ("runners",),
    (
        "runners.interactive",
        "runners.incremental",
        "runners.instances",
        "runners.self_training",
        "runners.refining",
    ),
    ("runtime", "audit", "runners.labelling"),
    ("recipe", "export"),
    ("api",),
    ("serve", "hub", "migrate"),
    ("annotate",),
    ("cli",),
)
"""Rooms, the lowest floor first: a room imports lower floors alone. A room is a folder, or a file that stands alone."""

FLOOR_OF = {name: number for number, floor in enumerate(FLOORS) for name in floor}
KINDS = {"backbones", "archs", "refiners", "losses", "metrics", "data", "convert"}
"""Kinds of parts that never import each other, on whatever floor: configs bring them together."""

MOST_FILES = {"segkit": 11, "segkit/data": 8, "segkit/ops": 12}
"""Modules at the roots that everything meets in; what one task needs lies in its wing."""

LONG_FUNCTIONS = 70


def room(module: str) -> str:
    """segkit.archs.fcn -> archs, segkit.data.dataset -> data.dataset (a floor of its own), segkit -> ""."""
    own = module.removeprefix("segkit").removeprefix(".")
    if own in FLOOR_OF or not own:
        return own
    return own if module in FOLDERS else own.rpartition(".")[0]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FOLDERS = {module_of(path.parent) for path in FILES}
MODULES = {module_of(path) for path in FILES} | FOLDERS


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def imports(path: Path, top_only: bool = False) -> set[str]:
    """Modules of segkit that the file imports anywhere, or at its top."""
    # what stands under TYPE_CHECKING names types for readers and the type checker, and is never imported
    body = [
        node
        for node in tree_of(path).body
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    found = set()
    for node in body if top_only else ast.walk(ast.Module(body, [])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "segkit"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "segkit":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found


def test_imports_go_down_the_floors():
    faults = []
    for path in FILES:
        own = room(module_of(path))
        if not own or path.name == "__init__.py":
            continue
        assert own in FLOOR_OF, f"{own}: give it a floor in tests/test_floors.py"
        for module in imports(path):
            other = room(module)
            if not other or own == other:
                continue
            if not FLOOR_OF[other] < FLOOR_OF[own]:
                floors = f"floor {FLOOR_OF[own]}", f"floor {FLOOR_OF[other]}"
                faults.append(f"{module_of(path)} ({floors[0]}) imports {module} ({floors[1]})")
            if len({own.split(".")[0], other.split(".")[0]} & KINDS) > 1:
                faults.append(f"{module_of(path)} imports {module}: kinds of parts meet in configs alone")
    assert not faults, faults


@pytest.mark.parametrize("folder", MOST_FILES)
def test_roots_stay_small(folder):
    found = sorted(path.name for path in (ROOT / folder).glob("*.py"))
    assert len(found) <= MOST_FILES[folder], f"{folder}: {len(found)} modules; what one task needs goes to its wing"


def test_no_arch_imports_another_arch():
    for path in (ROOT / "segkit/archs").glob("*.py"):
        others = {m for m in imports(path) if room(m) == "archs"}
        allowed = {m for m in others if m.rpartition(".")[2].startswith("_")}
        assert others == allowed, f"{path.name} imports {sorted(others)}; what two share is passed by config"


def test_no_import_cycle():
    graph = {module_of(path): imports(path, top_only=True) for path in FILES}
    done: set[str] = set()

    def visit(module: str, chain: tuple[str, ...]):
        assert module not in chain, f"import cycle: {' -> '.join((*chain, module))}"
        if module in done or module not in graph:
            return
        for other in graph[module]:
            visit(other, (*chain, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_sizes():
    faults = []
    for path in FILES:
        lines = len(path.read_text().splitlines())
        if lines > 400:
            faults.append(f"{path}: {lines} lines, more than 400; about 300 read well")
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef) and (length := node.end_lineno - node.lineno + 1) > LONG_FUNCTIONS:
                faults.append(f"{path}:{node.lineno} {node.name} has {length} lines")
    assert not faults, faults


def test_package_faces_are_empty():
    faces = [path for path in FILES if path.name == "__init__.py" and path.parent != ROOT / "segkit"]
    assert [path for path in faces if path.read_text()] == []


def test_archs_begin_with_their_citation():
    for path in (ROOT / "segkit/archs").glob("[!_]*.py"):
        first = ast.get_docstring(tree_of(path)) or ""
        assert "http" in first, f"{path.name}: the first line is the citation with a link"


def test_registered_constructors_take_no_kwargs():
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef) and any("register" in ast.unparse(d) for d in node.decorator_list):
                for item in node.body:
                    if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                        assert item.args.kwarg is None, f"{path.name}: {node.name} takes **kwargs"


def test_public_names_are_documented():
    missing = []
    for path in FILES:
        tree = tree_of(path)
        if path.name != "__init__.py" and not ast.get_docstring(tree):
            missing.append(path.name)
        for node in tree.body:
            is_public = isinstance(node, ast.ClassDef) and not node.name.startswith("_")
            if is_public and not ast.get_docstring(node):
                missing.append(f"{path.name}: {node.name}")
    assert not missing, missing


def test_nothing_speaks_of_this_machine():
    for folder in ("segkit", "configs", "tools", "docs", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md") and path.name != "test_floors.py":
                text = path.read_text()
                assert "/work/" not in text and "../shared" not in text, f"{path} names a folder of one machine"
