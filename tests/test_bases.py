"""Models refuse backbones and heads that do not derive from the base classes; the message says from which."""

import pytest
from torch import nn

from segkit.models.bases import Backbone, Head
from segkit.models.click_segmentor import ClickSegmentor
from segkit.models.growing_segmentor import GrowingSegmentor
from segkit.models.hierarchical_segmentor import HierarchicalSegmentor
from segkit.models.multi_scale_segmentor import MultiScaleSegmentor
from segkit.models.segmentor import Segmentor
from segkit.registry import BACKBONES, HEADS, ConfigError
from tests.tiny import TinyBackbone, TinyHead

BASES = "derive it from segkit.models.bases"


@pytest.mark.parametrize(
    "model", [Segmentor, ClickSegmentor, GrowingSegmentor, MultiScaleSegmentor, HierarchicalSegmentor]
)
def test_a_model_takes_parts_of_the_base_classes_alone(model):
    backbone, head = TinyBackbone(), TinyHead((8, 8), 1)
    with pytest.raises(ConfigError, match=rf"model\.backbone = Identity: is not a Backbone; {BASES}\.Backbone"):
        model(1, nn.Identity(), head)
    with pytest.raises(ConfigError, match=rf"model\.head = Identity: is not a Head; {BASES}\.Head"):
        model(1, backbone, nn.Identity())
    with pytest.raises(ConfigError, match=rf"model\.aux\.1 = Identity: is not a Head; {BASES}\.Head"):
        model(1, backbone, head, aux=(head, nn.Identity()))


def test_all_registered_backbones_and_heads_derive_from_the_base_classes():
    for registry, base in ((BACKBONES, Backbone), (HEADS, Head)):
        strangers = [name for name in registry.names() if not issubclass(registry.get(name), base)]
        assert not strangers, f"derive {', '.join(strangers)} from {base.__name__}"
