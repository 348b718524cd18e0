"""Every file of configs/ loads, checks and builds its model on the meta device; bases fit whatever completes them."""

import re
from pathlib import Path

import pytest
import torch

from segkit.config import load_config
from segkit.readers.python_config import dump
from segkit.registry import build_model, without_start_weights
from segkit.schema import check

ROOT = Path(__file__).parents[1] / "configs"
WHOLE = sorted(path for path in ROOT.rglob("*.py") if "_base_" not in path.parts)
BASES = sorted(path for path in ROOT.rglob("*.py") if "_base_" in path.parts)
STUB = dict(num_classes=2, backbone=dict(type="tests.tiny:TinyBackbone"), head=dict(type="tests.tiny:TinyHead"))

BUILT: set[Path] = set()
"""Folders of whole configs of which a model was built."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", WHOLE, ids=name)
def test_whole_configs(path):
    cfg = load_config(path)
    check(cfg)
    assert {"model", "losses", "train", "optimizer", "loop"} <= cfg.keys(), f"{name(path)} trains nothing"
    assert len(path.read_text().splitlines()) <= 45
    # tests/test_archs.py builds every model; of the configs of a folder one is enough here
    if path.parent not in BUILT:
        built(without_start_weights(cfg["model"]))
        BUILT.add(path.parent)


def built(model: dict) -> None:
    with torch.device("meta"):
        network = build_model(model)
    assert sum(p.numel() for p in network.parameters()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("path", WHOLE, ids=name)
def test_every_whole_config_is_built(path):
    built(without_start_weights(load_config(path)["model"]))


CLAIM = re.compile(r"as mmsegmentation's|mmsegmentation's setting|^mmsegmentation's", re.IGNORECASE)
AS_MMSEG = [path for path in WHOLE if CLAIM.search(path.read_text().split('"""')[1])]


@pytest.mark.parametrize("path", AS_MMSEG, ids=name)
def test_configs_of_mmsegmentation_average_over_all_pixels(path):
    """As mmsegmentation's CrossEntropyLoss does by default: ignored pixels and padding count in the divisor.

    With class weights their sum is the divisor. Queries that are matched to masks have losses of their own.
    """
    rows = [dict(row.get("loss", row)) for row in load_config(path)["losses"]]
    if {row["type"] for row in rows} <= {"MaskFormerSemantic", "Mask2FormerSemantic"}:
        return
    rows = [row for row in rows if row["type"] in ("CrossEntropy", "BinaryCrossEntropy")]  # Fast-SCNN has sigmoids
    assert rows and {row.get("average") for row in rows if not row.get("class_weight")} <= {"all"}


def test_the_rule_reaches_what_it_is_about():
    assert len(AS_MMSEG) > 80 and ROOT / "pspnet/pspnet_r50_40k_voc_512x512.py" in AS_MMSEG


@pytest.mark.parametrize("path", BASES, ids=name)
def test_bases(path, tmp_path):
    """A base is completed by what it leaves open: classes, or a model that takes the classes."""
    whole = f"from segkit.config import ref\n_base_ = {str(path)!r}\n"
    kind = path.parent.name
    if kind == "models":
        whole += "num_classes = 2\n"
    else:
        whole += f"model = {STUB!r}\n"
    if kind == "datasets":
        whole += "model['num_classes'] = ref('num_classes')\n"
    (tmp_path / "whole.py").write_text(whole)
    check(load_config(tmp_path / "whole.py"))


@pytest.mark.parametrize("path", WHOLE, ids=name)
def test_a_saved_config_loads_back(path, tmp_path):
    cfg = load_config(path)
    (tmp_path / "again.py").write_text(dump(cfg))
    assert dict(load_config(tmp_path / "again.py")) == dict(cfg)
