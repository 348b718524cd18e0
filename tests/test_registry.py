"""Registries: names, errors, classes from outside."""

import pytest

from segkit.registry import ConfigError, Registry


def make(name: str, module: str) -> type:
    return type(name, (), {"__module__": module})


def test_names_and_look_up():
    registry = Registry("head")
    cls = registry.register(make("PSPHead", "a"))
    assert registry.get("PSPHead") is cls
    assert registry.names() == ["PSPHead"]


def test_a_name_twice_names_both_modules():
    registry = Registry("head")
    registry.register(make("PSPHead", "a"))
    with pytest.raises(ValueError, match="'PSPHead' is registered by a and b"):
        registry.register(make("PSPHead", "b"))


def test_did_you_mean():
    registry = Registry("head")
    registry.register(make("PSPHead", "a"))
    with pytest.raises(ConfigError, match=r"model.head.type = 'PSPHaed': no such head; did you mean 'PSPHead'"):
        registry.get("PSPHaed", "model.head.type")


def test_a_far_name_lists_what_there_is():
    registry = Registry("head")
    registry.register(make("PSPHead", "a"))
    with pytest.raises(ConfigError, match="available: PSPHead"):
        registry.get("xyz")


def test_a_class_from_outside():
    assert Registry("head").get("collections:OrderedDict").__name__ == "OrderedDict"
    with pytest.raises(ConfigError, match=r"collections.*has no 'Nothing'"):
        Registry("head").get("collections:Nothing", "model.head.type")


def test_import_of_segkit_loads_nothing_heavy():
    import subprocess
    import sys

    code = "import segkit, sys; print(any(m in sys.modules for m in ('torch', 'numpy', 'cv2', 'timm')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
