"""Configs of UPerNet, Semantic FPN, DPT and SETR on transformers: published names, sizes and outputs."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segkit.config import load_config
from segkit.convert.find_map import choose
from segkit.convert.keymap import load_map
from segkit.models.layers import resize
from segkit.registry import build_model
from tests.oracles import fixture, image
from tests.test_oracles_modern import compare, weights_of

CONFIGS = Path(__file__).parents[1] / "configs"
CASES = {"A": (0, (128, 160)), "B": (1, (97, 131)), "S": (2, (128, 128))}
BUILT_FOR = ("model.backbone.img_size=(128,160)",)
"""The size of the reference's encoder, where it has tables of relative positions."""

SYSTEMS = {
    "upernet_swin-t": ("_base_/models/upernet_swin-t", "mmseg_swin"),
    "upernet_swin-s": ("upernet/upernet_swin-s_160k_ade20k_512x512", "mmseg_swin"),
    "upernet_swin-b-w12": ("upernet/upernet_swin-b-w12-22k_160k_ade20k_512x512", "mmseg_swin"),
    "upernet_swin-l-w12": ("upernet/upernet_swin-l-w12-22k_160k_ade20k_512x512", "mmseg_swin"),
    "upernet_convnext-t": ("_base_/models/upernet_convnext-t", "mmseg_convnext"),
    "upernet_convnext-b": ("upernet/upernet_convnext-b_160k_ade20k_512x512", "mmseg_convnext"),
    "upernet_deit-s16": ("_base_/models/upernet_deit-s16", "mmseg_vit"),
    "upernet_deit-s16-ln-mln": ("upernet/upernet_deit-s16_ln-mln_160k_ade20k_512x512", "mmseg_vit"),
    "upernet_vit-b16-ln-mln": ("_base_/models/upernet_vit-b16_ln-mln", "mmseg_vit"),
    "upernet_beit-b": ("_base_/models/upernet_beit-b", "mmseg_beit", *BUILT_FOR),
    "upernet_beit-b_640": ("_base_/models/upernet_beit-b", "mmseg_beit"),
    "upernet_beit-l": ("upernet/upernet_beit-l_320k_ade20k_640x640", "mmseg_beit"),
    "upernet_mae-b": ("_base_/models/upernet_mae-b", "mmseg_beit", *BUILT_FOR),
    "upernet_mae-b_512": ("_base_/models/upernet_mae-b", "mmseg_beit"),
    "hf_upernet_swin-t": ("_base_/models/upernet_swin-t", "hf_upernet_swin"),
    # run with transformers 5.24.0
    "hf_upernet_convnext-t": ("_base_/models/upernet_convnext-t", "hf_upernet_convnext"),
    "twins_pcpvt-s_fpn": ("_base_/models/twins_pcpvt-s_fpn", "mmseg_twins"),
    "twins_svt-s_uper": ("_base_/models/twins_svt-s_uper", "mmseg_twins"),
    "dpt_vit-b16": ("_base_/models/dpt_vit-b16", "mmseg_dpt"),
    "hf_dpt-ade_vit-b": ("_base_/models/dpt_original_vit-b16", "hf_dpt"),
    "setr_vit-l_pup": ("_base_/models/setr_pup_vit-l", "mmseg_setr"),
    "setr_vit-l_naive": ("_base_/models/setr_naive_vit-l", "mmseg_setr"),
    "setr_vit-l_mla": ("_base_/models/setr_mla_vit-l", "mmseg_setr_mla"),
}
"""Fixture -> config, key map, options."""

QUICK = ("twins_pcpvt-s_fpn",)
SLOW = (
    "hf_upernet_swin-t",
    "hf_upernet_convnext-t",
    "dpt_vit-b16",
    "upernet_beit-b",
    "upernet_mae-b",
    "hf_dpt-ade_vit-b",
    "setr_vit-l_pup",
)
UNREAD = {"setr_vit-l_mla": 1024, "upernet_mae-b": 12 * 768, "upernet_mae-b_512": 12 * 768}
"""Numbers of a published tensor that are left out: the position of the class token, the biases of keys."""

MODELS = {
    model: (SYSTEMS[model][0].rpartition("/")[2], SYSTEMS[model][1])
    for model in (*QUICK, *SLOW, "upernet_swin-t", "upernet_convnext-t", "upernet_deit-s16")
}
"""Fixture -> model config, key map, where outputs are compared: the last three in tests/test_oracles_modern.py."""

LARGE = ("upernet_swin-s", "upernet_swin-l-w12", "upernet_convnext-b", "upernet_beit-b_640", "upernet_mae-b_512")
"""Sizes whose names follow from those of another size here; their configs are built by tests/test_configs.py."""

PATCH_BIAS = "backbone.encoder.model.patch_embed.proj.bias"


def build(model: str, device: str = "meta") -> nn.Module:
    """The network in eval; its input is normalized already."""
    config, _, *options = SYSTEMS[model]
    options = ["num_classes=150", "model.backbone.pretrained=None", *options]
    with torch.device(device):
        net = build_model(load_config(CONFIGS / f"{config}.py", options)["model"]).eval()
    net.mean, net.std = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    return net


def content_of(model: str) -> dict:
    path = Path(__file__).parent / f"fixtures/modern/{model}.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.mark.parametrize("model", [pytest.param(m, marks=[pytest.mark.slow] * (m in LARGE)) for m in SYSTEMS])
def test_names_and_sizes_are_the_published_ones(model):
    content, net, keys = content_of(model), build(model), load_map(SYSTEMS[model][1])
    keys.check({name: tuple(shape) for name, shape in content["names"].items()}, net.state_dict())
    if "params" not in content:
        return
    count = sum(parameter.numel() for parameter in net.parameters())
    dropped = [name for name in content["names"] if keys.rename(name)[0] is None and not name.endswith("index")]
    lost = sum(torch.Size(content["names"][n]).numel() for n in dropped if "running" not in n and "num_b" not in n)
    lost += UNREAD.get(model, 0)
    bias = (
        net.state_dict()[PATCH_BIAS].numel()
        if keys.zeros and "backbone.patch_embed.projection.bias" not in (content["names"])
        else 0
    )
    assert count - bias + lost == content["params"]["total"]


@pytest.mark.parametrize(
    "model", ["upernet_beit-b", "upernet_mae-b", "upernet_deit-s16", "dpt_vit-b16", "setr_vit-l_mla"]
)
def test_the_key_map_is_found_by_itself(model):
    names = {name: tuple(shape) for name, shape in content_of(model)["names"].items()}
    assert choose(names, build(model))[0] == SYSTEMS[model][1]


def outputs_of(net: nn.Module, x: Tensor, names: set[str]) -> dict[str, Tensor]:
    """Of the reference's names those that it stores."""
    features = net.backbone(x)
    maps = features if net.neck is None else net.neck(features)
    logits = net.head(maps)["logits"]
    found = {f"backbone.{i}": feature for i, feature in enumerate(features)}
    for i, feature in enumerate(features):  # of DPT the map and the class token
        half = feature.shape[1] // 2
        found |= {f"backbone.{i}.0": feature[:, :half], f"backbone.{i}.1": feature[:, half:, 0, 0]}
    found |= {f"neck.{i}": feature for i, feature in enumerate(maps)}
    aux = [head(maps)["logits"] for head in net.aux]
    found |= {f"auxiliary_head.{i}": x for i, x in enumerate(aux)} | ({"auxiliary_head": aux[0]} if aux else {})
    found |= {"decode_head": logits, "final": resize(logits, like=x), "logits": resize(logits, like=x)}
    if net.align_corners:
        found["logits"] = resize(logits, like=x, align_corners=True)
    return {name: value for name, value in found.items() if name in names}


@torch.inference_mode()
@pytest.mark.parametrize("model", [*QUICK, *(pytest.param(model, marks=pytest.mark.slow) for model in SLOW)])
def test_outputs_are_the_published_ones(model):
    content, stored = fixture("modern", model)
    net, keys = build(model, "cpu"), load_map(SYSTEMS[model][1])
    kept = {name: shape for name, shape in content["names"].items() if keys.rename(name)[0] is not None}
    net.load_state_dict(keys.apply(weights_of(kept)), strict=True, assign=True)
    for case in sorted({name.partition("/")[0] for name in stored}):
        names = {name.partition("/")[2] for name in stored if name.startswith(f"{case}/")}
        outputs = outputs_of(net, image(*CASES[case]), names)
        assert outputs.keys() == names
        compare(outputs, case, stored, content)
