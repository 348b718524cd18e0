"""Learning rates that fall towards the image: factors of published constructors, and encoders of other families."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from segkit.backbones.timm import Timm
from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.engine.layer_decay import lr_factors
from segkit.engine.optim import build_optimizer
from segkit.registry import ConfigError, build_model
from segkit.settings import LayerDecaySettings
from tests.test_oracles_modern import UPERNET

PUBLISHED = json.loads(gzip.decompress((Path(__file__).parent / "fixtures/modern/param_groups.json.gz").read_bytes()))
"""Config -> base values, and name -> factor of the rate and weight decay, by the published constructors."""

VECTORS = [dict(kind="vector", decay=0.0)]
WAYS = {
    "upernet_swin-t": dict(groups=[dict(match=r"norm|relative_position_bias_table", decay=0.0)]),
    "upernet_convnext-t": dict(layer_decay=dict(rate=0.9, law="stage_wise"), groups=VECTORS),
    "upernet_deit-s16": dict(groups=[dict(match=r"(pos_embed|cls_token)$", decay=0.0)]),
}
"""What our section `optimizer` adds to the base values."""


def given(model: torch.nn.Module, section: dict) -> dict[str, tuple[float, float]]:
    """Name -> factor of the rate and weight decay."""
    optimizer = build_optimizer(section, model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["lr"] / section["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("name", WAYS)
def test_rates_and_decays_are_mmsegmentations(name):
    key_map, parts = UPERNET[name]
    with torch.device("meta"):
        model = build_model(dict(type="Segmentor", num_classes=150, head=dict(type="UPerHead"), **parts))
    base = PUBLISHED[name]["base"]
    found = given(model, dict(type="AdamW", lr=base["lr"], weight_decay=base["weight_decay"], **WAYS[name]))
    keys = load_map(key_map)
    seen = set()
    for published, (factor, decay) in PUBLISHED[name]["factors"].items():
        own = keys.rename(published)[0]
        if own is not None:
            assert found[own] == pytest.approx((factor, decay), rel=1e-6), own
            seen.add(own)
    # mmsegmentation's patch embedding has no bias there
    assert found.keys() - seen <= {"backbone.encoder.model.patch_embed.proj.bias"}


@pytest.mark.parametrize("name, rate", [("upernet_beit-b", 0.9), ("upernet_mae-b", 0.65)])
def test_rates_of_a_vision_transformer_are_beits(name, rate):
    options = dict(out_indices=(3, 5, 7, 11), img_size=(128, 160))
    with torch.device("meta"):
        model = torch.nn.ModuleDict({"backbone": Timm("beit_base_patch16_224", **options)})
    base = PUBLISHED[name]["base"]
    section = dict(type="AdamW", lr=base["lr"], weight_decay=base["weight_decay"], groups=VECTORS)
    found = given(model, section | dict(layer_decay=dict(rate=rate)))
    keys = load_map("mmseg_vit")
    published = {keys.rename(key)[0]: values for key, values in PUBLISHED[name]["factors"].items() if "backbone" in key}
    assert len(found.keys() & published.keys()) > 150
    for own in found.keys() & published.keys():
        assert found[own] == pytest.approx(tuple(published[own]), rel=1e-5), own


CONFIGS = {
    "upernet_swin-t": ("upernet/upernet_swin-t_160k_ade20k_512x512", "mmseg_swin"),
    "upernet_convnext-t": ("upernet/upernet_convnext-t_160k_ade20k_512x512", "mmseg_convnext"),
    "upernet_deit-s16": ("upernet/upernet_deit-s16_160k_ade20k_512x512", "mmseg_vit"),
    "upernet_beit-b": ("upernet/upernet_beit-b_160k_ade20k_640x640", "mmseg_beit"),
    "upernet_mae-b": ("upernet/upernet_mae-b_160k_ade20k_512x512", "mmseg_beit"),
    "twins_pcpvt-s_fpn": ("twins/twins_pcpvt-s_fpn_80k_ade20k_512x512", "mmseg_twins"),
    "dpt_vit-b16": ("dpt/dpt_vit-b16_160k_ade20k_512x512", "mmseg_dpt"),
    "setr_vit-l_pup": ("setr/setr_pup_vit-l_160k_ade20k_512x512", "mmseg_setr"),
}
"""Published setting -> our config and the key map of its names."""


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_have_the_published_rates_and_decays(name):
    config, key_map = CONFIGS[name]
    cfg = load_config(Path(__file__).parents[1] / f"configs/{config}.py", ["model.backbone.pretrained=None"])
    with torch.device("meta"):
        model = build_model(cfg["model"])
    base, section = PUBLISHED[name]["base"], cfg["optimizer"]
    assert (section["type"], section["lr"], section["weight_decay"]) == (base["type"], base["lr"], base["weight_decay"])
    assert section.get("momentum") == base.get("momentum")
    found, keys, compared = given(model, section), load_map(key_map), 0
    for published, factors in PUBLISHED[name]["factors"].items():
        own = keys.rename(published)[0]
        for part in (own, *(own.replace("in_proj_", f"{part}.") for part in ("q", "kv"))) if own else ():
            if part in found:
                assert found[part] == pytest.approx(tuple(factors), rel=1e-5), part
                compared += 1
    # the bias of a patch embedding and the two of queries and values stand elsewhere there
    assert compared >= 0.85 * len(found)


def test_the_last_block_of_eomt_trains_at_the_full_rate():
    """By hand, 3 blocks at .8: .64, .8, 1; the tokens are like block 0, the last norm is at the full rate."""
    names = ["cls_token", "patch_embed.proj.weight", "blocks.0.a", "blocks.1.a", "blocks.2.a", "norm.weight"]
    names = [f"backbone.encoder.model.{name}" for name in names] + ["head.q"]
    factors = lr_factors(names, LayerDecaySettings(0.8, "block_wise"))
    assert [*factors.values()] == pytest.approx([0.64, 0.64, 0.64, 0.8, 1, 1, 1])


def test_layers_of_pyramids_by_hand():
    """What halves a map goes with the block behind it, a normalization behind the maps with the head."""
    names = ["stem_0.w", "stages_0.blocks.0.w", "stages_0.norm.w", "stages_1.downsample.w", "stages_1.blocks.0.w"]
    names = [f"backbone.encoder.{name}" for name in names] + ["backbone.norms.1.weight", "head.w"]
    factors = lr_factors(names, LayerDecaySettings(0.5))
    assert [*factors.values()] == [0.125, 0.25, 0.5, 0.5, 0.5, 1, 1]


@pytest.mark.parametrize(
    "encoder, blocks",
    [("resnet18", 8), ("regnety_002", 13), ("efficientnet_b0", 16), ("pvt_v2_b0", 8), ("twins_pcpvt_small", 16)],
)
def test_blocks_are_found_in_other_families(encoder, blocks):
    with torch.device("meta"):
        names = [f"backbone.{name}" for name, _ in Timm(encoder).named_parameters()]
    factors = [*dict.fromkeys(lr_factors(names, LayerDecaySettings(0.9)).values())]
    assert factors[0] == pytest.approx(0.9 ** (blocks + 1)) and 0.9 in factors
    assert len(factors) in (blocks + 1, blocks + 2)


def test_what_cannot_be_counted_is_refused():
    with torch.device("meta"):
        model = torch.nn.ModuleDict({"backbone": Timm("vgg11")})
    section = dict(type="AdamW", lr=1.0)
    with pytest.raises(ConfigError, match=r"optimizer.layer_decay.law = 'layer_wise': no parameter of the backbone"):
        build_optimizer(section | dict(layer_decay=dict(rate=0.9)), model)
    names = ["backbone.encoder.stages_6.blocks.0.w"]
    with pytest.raises(ConfigError, match=r"layers = 6: the encoder has 7 stages; give at least 7"):
        lr_factors(names, LayerDecaySettings(0.9, "stage_wise", layers=6))
