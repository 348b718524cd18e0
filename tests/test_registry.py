"""Registries: names, errors, classes from outside."""

import pytest

from segkit import registry as reg
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


class NoPart:
    """Derives from no base of segkit."""


@pytest.mark.parametrize(
    ("registry", "base"),
    [
        (reg.MODELS, "segkit.models.bases.Network"),
        (reg.BACKBONES, "segkit.models.bases.Backbone"),
        (reg.NECKS, "torch.nn.Module"),
        (reg.HEADS, "segkit.models.bases.Head"),
        (reg.LOSSES, "torch.nn.Module"),
        (reg.DATASETS, "segkit.data.dataset.Dataset"),
        (reg.SAMPLERS, "segkit.data.samplers.Sampler"),
        (reg.METRICS, "segkit.metrics.base.Metric"),
        (reg.OPTIMIZERS, "torch.optim.Optimizer"),
        (reg.SCHEDULES, "segkit.engine.schedules.Schedule"),
        (reg.HOOKS, "segkit.engine.hooks.Hook"),
        (reg.RUNNERS, "segkit.runners.base.Runner"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_class_from_outside_derives_from_the_base_of_its_kind(registry, base):
    message = rf"a\.type = '{__name__}:NoPart': this class is no {registry.kind}; derive it from {base}$"
    with pytest.raises(ConfigError, match=message):
        registry.get(f"{__name__}:NoPart", "a.type")


def test_a_transform_from_outside_is_callable():
    with pytest.raises(ConfigError, match=r"this class is no transform; give it a method __call__$"):
        reg.TRANSFORMS.get(f"{__name__}:NoPart", "train.transforms.0.type")
    assert reg.TRANSFORMS.get("operator:itemgetter").__name__ == "itemgetter"


def test_a_function_is_no_type():
    with pytest.raises(ConfigError, match=rf"hooks\.0\.type = '{__name__}:make': is no class"):
        reg.HOOKS.get(f"{__name__}:make", "hooks.0.type")


def test_import_of_segkit_loads_nothing_heavy():
    import subprocess
    import sys

    code = "import segkit, sys; print(any(m in sys.modules for m in ('torch', 'numpy', 'cv2', 'timm')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
