"""segkit: semantic, interactive, incremental and box-supervised segmentation training on PyTorch."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from segkit.api import click_predictor, evaluate, load_ensemble, load_model, predict, train
    from segkit.config import load_config
    from segkit.runtime.model import load_exported

__all__ = [
    "click_predictor",
    "evaluate",
    "load_config",
    "load_ensemble",
    "load_exported",
    "load_model",
    "predict",
    "train",
]

ELSEWHERE = {"load_config": "segkit.config", "load_exported": "segkit.runtime.model"}
"""Modules of what is not in segkit.api."""


def __getattr__(name: str) -> Any:
    """Imports the library's functions when they are first used: `import segkit` alone costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'segkit' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(ELSEWHERE.get(name, "segkit.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
