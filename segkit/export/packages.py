"""Packages that some formats need: imported where they are used, their absence is one sentence."""

import importlib
from types import ModuleType

from segkit.registry import ConfigError

COMMANDS = {
    "onnx": "pip install 'segkit[export]'",
    "onnxscript": "pip install 'segkit[export]'",
    "onnxruntime": "pip install 'segkit[export]'",
    "onnxruntime.quantization": "pip install 'segkit[export]'",
    "openvino": "pip install 'segkit[openvino]'",
    "executorch": "pip install executorch",
    "coremltools": "pip install coremltools",
    "tensorrt": "pip install tensorrt",
    "nncf": "pip install nncf",
}
"""How each package is installed."""


def package(name: str, reason: str) -> ModuleType:
    """Imports a module of an optional package.

    Args:
        name: of the module.
        reason: what needs it, "--to onnx".

    Raises:
        ConfigError: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        root = name.partition(".")[0]
        command = COMMANDS.get(name, COMMANDS.get(root, f"pip install {root}"))
        raise ConfigError(f"{reason}: needs the package {root} ({error}); install it: {command}") from error
