"""The wheel, built and installed as users do it: packaged configs, and a run from a directory with nothing in it."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import segkit

ROOT = Path(__file__).parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def run(*words: str, cwd: Path, **environment: str) -> str:
    """Standard output of a command that has to succeed; PYTHONPATH is what `environment` says alone."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(words, cwd=cwd, env={**inherited, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of the checkout, built from a copy, so that the checkout stays clean."""
    for package, oldest in (("pip", 23), ("setuptools", 77)):
        # setuptools is not imported: it replaces distutils in this process
        found = importlib.util.find_spec(package) and int(version(package).partition(".")[0])
        if not found or found < oldest:
            pytest.skip(f"needs {package} {oldest} or newer")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("segkit", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = ("wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(*PIP, *build, "--wheel-dir", str(folder), ".", cwd=source)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel) -> Path:
    """The folder into which pip installed the wheel; the packages it needs are those of the running interpreter."""
    target = wheel.parent / "installed"
    run(*PIP, "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel), cwd=wheel.parent)
    return target


def test_the_wheel_holds_the_package_with_its_genotypes_its_page_and_the_configs_alone(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "segkit").rglob("*.py")} | {"segkit/py.typed"}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "segkit/genotypes").glob("*.json")}
    expected |= {f"segkit/viz/page/{name}" for name in ("style.css", "script.js")}
    expected |= {f"segkit/serve/page/{name}" for name in ("index.html", "page.css", "page.js")}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "segkit/annotate/page").iterdir()}
    expected |= {f"segkit/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == expected


def test_the_metadata(wheel):
    metadata = zipfile.ZipFile(wheel).read(f"segkit-{segkit.__version__}.dist-info/METADATA").decode()
    needed = re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata, re.MULTILINE)
    assert needed == requirements()
    assert f"Version: {segkit.__version__}" in metadata and "License-Expression: MIT" in metadata


def requirements() -> list[str]:
    """The core dependencies."""
    return [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]


def test_every_direct_dependency_is_pinned():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    words = [*requirements(), *(word for extra in extras.values() for word in extra)]
    needed = {re.split("[><=[]", word)[0] for word in words} - {"segkit"}
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert needed <= pinned, needed - pinned


WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder
NEEDED = {"numpy", "cv2", "PIL", "onnxruntime", "segkit", "flatbuffers", "google", "packaging"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        found = None if name.split(".")[0] in NEEDED else PathFinder.find_spec(name, path)
        if found is not None and "site-packages" in str(found.origin):
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Absent())
import segkit
from segkit.cli.main import main
assert main(["predict", "model.onnx", "x.png"]) == 0
print(segkit.__file__)
"""


def test_the_runner_needs_four_packages_alone(installed, tmp_path):
    """What docs/serving.md says to install beside segkit: every other package cannot be imported."""
    pytest.importorskip("onnxruntime")
    import cv2
    import numpy as np

    from segkit.runtime.metadata import GraphInfo
    from tests.exported import CLASSES, checkpoint_of, config, semantic_graph

    semantic_graph(
        checkpoint_of(config(), tmp_path / "m.pt"), tmp_path / "model.onnx", GraphInfo("semantic", classes=CLASSES)
    )
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((20, 30, 3), np.uint8))
    found = run(sys.executable, "-c", WITHOUT_TORCH, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    assert found[-1] == str(installed / "segkit/__init__.py") and (tmp_path / "predictions/labels/x.png").is_file()


LOOK = """
import segkit, segkit.cli.main
from segkit.config import load_config
cfg = load_config("segkit:unet/unet_r34_40k_voc_512x512.py")
print(segkit.__file__, segkit.cli.main.__file__, cfg.origin("model.head.type"), sep="\\n")
"""


def test_a_run_from_an_empty_directory(installed, tmp_path):
    """`segkit train segkit:quickstart/semantic.py` with the installed package alone on the path."""
    found = run(sys.executable, "-c", LOOK, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    files = [str(installed / name) for name in ("segkit/__init__.py", "segkit/cli/main.py")]
    assert found == [*files, "segkit:_base_/models/unet_r34.py"]

    words = ("train", "segkit:quickstart/semantic.py", "--device", "cpu", "--cfg-options")
    small = ("loop.steps=5", "loop.log_every=1", "train.dataset.length=40", "val.dataset.length=20")
    command = (sys.executable, "-m", "segkit.cli.main", *words, *small)
    log = run(*command, cwd=tmp_path, PYTHONPATH=str(installed))
    assert "done: work_dirs/semantic/last.pt" in log and (tmp_path / "work_dirs/semantic/best.pt").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["work_dirs"]
