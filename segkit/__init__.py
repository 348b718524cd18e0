"""segkit: semantic, interactive, incremental and box-supervised segmentation training on PyTorch."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from segkit.api import click_predictor, evaluate, load_ensemble, load_model, predict, train
    from segkit.config import load_config

__all__ = ["click_predictor", "evaluate", "load_config", "load_ensemble", "load_model", "predict", "train"]


def __getattr__(name: str) -> Any:
    """Imports the library's functions when they are first used: `import segkit` alone costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'segkit' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(importlib.import_module("segkit.config" if name == "load_config" else "segkit.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
