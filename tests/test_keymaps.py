"""Key maps: every published name becomes exactly one of ours, of the same shape; what does not match is listed."""

import pytest
import torch

from segkit.convert.find_map import choose
from segkit.convert.keymap import KeyMap, all_maps, load_map
from segkit.convert.maps.smp import map_first, pool_first
from segkit.models.layers import resize
from segkit.registry import ConfigError
from tests.archs_table import build
from tests.oracles import fixture
from tests.test_oracles_mmseg import MODELS as MMSEG
from tests.test_oracles_smp import MODELS as SMP

PUBLISHED = [
    *(("mmseg", model, config, key_map, ("num_classes=19",)) for model, (config, key_map, _) in MMSEG.items()),
    *(("smp", model, config, key_map, tuple(options.split())) for model, (config, key_map, options) in SMP.items()),
]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row[0]}-{row[1]}")
def test_names_match_one_to_one(row):
    topic, model, config, key_map, options = row
    content, _ = fixture(topic, model)
    net = build(config, 11, options, device="meta")
    report = load_map(key_map).check(content["names"], net.state_dict())
    assert f"{len(net.state_dict())} tensors matched" in report
    # The map is found without its name, or another that does the same with these names.
    found, chosen = choose({name: tuple(shape) for name, shape in content["names"].items()}, net)
    assert found.startswith(topic)
    assert all(chosen.rename(name) == load_map(key_map).rename(name) for name in content["names"])


TORCHVISION = {
    "torchvision_fcn": ("fcn_resnet50", "fcn_r50", ("model.head.num_convs=1", "model.head.concat_input=False")),
    "torchvision_deeplabv3": (
        "deeplabv3_resnet50",
        "deeplabv3_r50",
        ("model.head.channels=256", "model.head.fuse_kernel=1", "model.head.num_convs=1"),
    ),
}


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("key_map", TORCHVISION)
def test_outputs_are_torchvisions(key_map):
    import torchvision.models.segmentation as published

    name, config, options = TORCHVISION[key_map]
    torch.manual_seed(0)
    theirs = getattr(published, name)(weights=None, weights_backbone=None, aux_loss=True, num_classes=5).eval()
    own = ("model.backbone.name='resnet50'", "model.backbone.pretrained=None", *options)
    ours = build(config, 5, own).eval()
    ours.load_state_dict(load_map(key_map).apply(theirs.state_dict()), strict=True)
    x = torch.randn(1, 3, 312, 328)
    features = ours.backbone(x)
    expected = theirs(x)
    for mine, other in ((ours.head, "out"), (ours.aux[0], "aux")):
        difference = resize(mine(features)["logits"], like=x) - expected[other]
        assert difference.abs().max() < 3e-5 * expected[other].std()


def test_mean_moves_to_the_front():
    weight = torch.arange(10.0).view(1, 10, 1, 1)
    assert pool_first(weight).flatten().tolist() == [8, 9, 0, 1, 2, 3, 4, 5, 6, 7]
    assert map_first(weight).flatten().tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]


def test_rules_apply_in_order_and_edits_with_them():
    rules = ((r"^module\.", ""), (r"^old\.", "new."), (r"^new\.w$", "new.weight", torch.neg), (r"counter$", None))
    renamed = KeyMap("test", rules).apply({"module.old.w": torch.ones(2), "module.counter": torch.ones(1)})
    assert list(renamed) == ["new.weight"]
    assert renamed["new.weight"].tolist() == [-1, -1]


def test_two_names_that_become_one_are_refused():
    with pytest.raises(ConfigError, match=r"test: a\.x and b\.x both become c\.x"):
        KeyMap("test", ((r"^[ab]\.", "c."),)).apply({"a.x": torch.ones(1), "b.x": torch.ones(1)})


def test_what_does_not_match_is_listed():
    own = {"a": torch.empty(2, 3), "b": torch.empty(1)}
    with pytest.raises(ConfigError) as problem:
        KeyMap("test", ()).check({"a": (3, 2), "c": (1,)}, own)
    text = str(problem.value)
    assert "1 missing: b" in text and "1 left over: c" in text and "1 of another shape: a (3, 2) for (2, 3)" in text


def test_an_unknown_map_is_answered_with_the_closest():
    with pytest.raises(ConfigError, match="no key map 'smp_unett'; did you mean 'smp_unet'"):
        load_map("smp_unett")
    assert all(key_map.source and key_map.url for key_map in all_maps().values())
