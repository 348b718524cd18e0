"""The page of the model zoo holds every model of the contract, and is what its generator writes."""

import importlib.util
import sys
from pathlib import Path

from segkit.convert.keymap import all_maps
from tests.archs_table import ROWS as CONTRACT

DOCS = Path(__file__).parents[1] / "docs"


def generator():
    spec = importlib.util.spec_from_file_location("make_model_zoo", DOCS / "make_model_zoo.py")
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


def test_the_page_is_what_the_generator_writes():
    """MACs that nobody published are taken from the page: counting them takes minutes."""
    zoo = generator()
    without = sorted(CONTRACT.keys() - zoo.ROWS.keys())
    assert not without, f"docs/model_zoo_rows.py lacks {without}"
    assert not zoo.ROWS.keys() - CONTRACT.keys()
    counted = zoo.stored()
    again = {name for name in zoo.ROWS if CONTRACT[name].gmac is None} - counted.keys()
    assert not again, f"run python docs/make_model_zoo.py: the page lacks {sorted(again)}"
    assert zoo.page(counted) == (DOCS / "model_zoo.md").read_text(), "run python docs/make_model_zoo.py"
    maps = all_maps()
    assert all(one in maps for entry in zoo.ROWS.values() for one in entry.maps)


def test_systems_without_public_code_are_named_so():
    text = (DOCS / "model_zoo.md").read_text()
    for name in ("hypercolumns_vgg16", "exfuse_r101", "sanet_r50", "cacnet_r50", "dupsampling_r50"):
        row = next(line for line in text.splitlines() if f"[{name}](" in line)
        assert row.endswith("| no parity: there is no public code to trust, the paper's formulas decide |")
