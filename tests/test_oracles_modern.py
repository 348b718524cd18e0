"""Networks on transformers and ConvNeXt under published weights' names give the published outputs, at odd sizes too."""

import re
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.backbones.timm import Timm
from segkit.convert.keymap import load_map
from segkit.models.layers import resize
from segkit.registry import build_model
from tests.oracles import error, fixture, image

CASES = {"A": (0, (128, 160)), "B": (1, (97, 131)), "P": (3, (112, 140)), "T": (4, (104, 136)), "L": (5, (400, 424))}
EMBEDDINGS = ("pos_embed", "position_embeddings", "cls_token", "mask_token", "relative_position_bias_table")
QUERIES = ("query_feat.weight", "query_embed.weight", "level_embed", "level_embed.weight", "level_encoding.weight")
QUERIES += ("queries_features.weight", "queries_embedder.weight")
AUX = dict(type="FCNHead", num_convs=1, channels=256)
UPERNET = {
    "upernet_swin-t": (
        "mmseg_swin",
        dict(backbone=dict(type="TimmSwin", name="swin_tiny_patch4_window7_224"), aux=[dict(AUX, level=-2)]),
    ),
    "upernet_convnext-t": (
        "mmseg_convnext",
        dict(
            backbone=dict(type="Timm", name="convnext_tiny", norm_levels=(-4, -3, -2, -1)),
            aux=[dict(AUX, level=-2)],
        ),
    ),
    "upernet_deit-s16": (
        "mmseg_vit",
        dict(
            backbone=dict(type="Timm", name="deit_small_patch16_224", out_indices=(2, 5, 8, 11), img_size=(512, 512)),
            aux=[dict(AUX, level=-1)],
        ),
    ),
    "upernet_deit-s16-ln-mln": (
        "mmseg_vit",
        dict(
            backbone=dict(
                type="Timm",
                name="deit_small_patch16_224",
                out_indices=(2, 5, 8, 11),
                img_size=(512, 512),
                norm_levels=(-1,),
            ),
            neck=dict(type="MultiLevelNeck"),
            aux=[dict(AUX, level=-1)],
        ),
    ),
}
"""Fixture -> key map, backbone, neck and auxiliary head of the UPerNet."""

MODELS = {"smp_upernet_mit_b0": ("upernet_r50", "smp_upernet")}
"""Fixture -> config of the model zoo that is nearest, key map."""


def weights_of(names: dict[str, list[int]]) -> dict[str, Tensor]:
    """Published names and shapes -> the reference's weights: as in tests.oracles, but visible embeddings."""
    return {name: torch.from_numpy(_weight(name, tuple(shape))) for name, shape in names.items()}


def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    normal = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape)
    if len(shape) > 1 and (name.rpartition(".")[2] in EMBEDDINGS or name.endswith(QUERIES)):
        normal = 0.5 * normal
    elif name.endswith(".running_var"):
        normal = 1 + 0.1 * np.abs(normal)
    elif name.endswith((".running_mean", ".bias")):
        normal = 0.1 * normal
    elif len(shape) > 1:
        normal = normal * np.sqrt(1 / np.prod(shape[1:]))
    else:
        normal = 1 + 0.1 * normal
    return np.asarray(normal, np.float32)


def compare(outputs: dict[str, Tensor], case: str, stored: dict, content: dict) -> None:
    """Every stored output of the case equals ours, in the whole tensor's standard deviations."""
    names = [name for name in stored if name.startswith(f"{case}/") and name.partition("/")[2] in outputs]
    assert len(names) == len(outputs)
    for name in names:
        ours, entry = outputs[name.partition("/")[2]], content["outputs"][name]
        assert list(ours.shape) == entry["shape"], name
        difference = error(ours, stored[name], entry)
        assert difference < content["tolerance"], f"{name}: {difference:.1e}"


def build(model: str, only: str = "") -> tuple[nn.Module, dict, dict]:
    """The network with the reference's weights, of the parts whose names start with `only`; in eval."""
    key_map, parts = UPERNET[model]
    content, stored = fixture("modern", model)
    net = build_model(dict(type="Segmentor", num_classes=150, head=dict(type="UPerHead"), **parts))
    keys = load_map(key_map)
    keys.check({name: tuple(shape) for name, shape in content["names"].items()}, net.state_dict())
    kept = {name: shape for name, shape in content["names"].items() if keys.rename(name)[0] and name.startswith(only)}
    report = net.load_state_dict(keys.apply(weights_of(kept)), strict=False, assign=True)
    assert not report.unexpected_keys and not [name for name in report.missing_keys if name.startswith(only)]
    return net.eval(), content, stored


@torch.inference_mode()
@pytest.mark.parametrize("model", [name for name in UPERNET if name != "upernet_deit-s16"])
def test_encoders_are_mmsegmentations_at_sizes_that_are_no_multiples_of_32(model):
    net, content, stored = build(model, "backbone.")
    features = net.backbone(image(*CASES["B"]))
    compare({f"backbone.{i}": feature for i, feature in enumerate(features)}, "B", stored, content)


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("model", UPERNET)
def test_upernet_is_mmsegmentations(model):
    net, content, stored = build(model)
    for case in ("A", "B"):
        x = image(*CASES[case])
        features = net.backbone(x)
        maps = features if net.neck is None else net.neck(features)
        logits = net.head(maps)["logits"]
        outputs = {f"backbone.{i}": feature for i, feature in enumerate(features)}
        outputs |= {f"neck.{i}": x for i, x in enumerate(maps)} if net.neck is not None else {}
        outputs |= {"decode_head": logits, "auxiliary_head": net.aux[0](maps)["logits"]}
        compare({**outputs, "final": resize(logits, like=x)}, case, stored, content)


DINOV2 = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
)


def dinov2_weights(names: dict[str, list[int]]) -> dict[str, Tensor]:
    """Hugging Face's names -> timm's, with query, key and value in one."""
    weights = weights_of(names)
    for name in [name for name in weights if ".attention.attention.query." in name]:
        parts = [weights.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        weights[name.replace("attention.attention.query", "attn.qkv")] = torch.cat(parts)
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in DINOV2:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


@torch.inference_mode()
def test_dinov2_is_hugging_faces():
    """Its position embedding, made for 518 x 518, is shrunk to 8 x 10 patches without antialiasing."""
    content, stored = fixture("modern", "hf_dinov2-s")
    weights = dinov2_weights(content["names"])
    levels = dict(out_indices=(0, 11))
    net = Timm("vit_small_patch14_dinov2", pretrained=lambda: weights, norm_levels=(-1,), **levels).eval()
    net.norms["1"].weight.data, net.norms["1"].bias.data = weights["layernorm.weight"], weights["layernorm.bias"]
    plain = Timm("vit_small_patch14_dinov2", pretrained=lambda: weights, **levels).eval()
    x = image(*CASES["P"])
    maps = {"hidden.1": plain(x)[0], "hidden.12": plain(x)[1], "last": net(x)[1]}
    for name, feature in maps.items():
        entry = content["outputs"][f"P/{name}"]
        tokens = F.pad(feature.flatten(2).transpose(1, 2), (0, 0, 1, 0))  # in front the class token, which is no pixel
        assert list(tokens.shape) == entry["shape"]
        ours, theirs = tokens[:, ::3, ::10][:, 1:].numpy(), stored[f"P/{name}"][:, 1:]
        assert np.abs(ours - theirs).max() < content["tolerance"] * entry["std"], name
    antialiased = Timm("vit_small_patch14_dinov2", pretrained=lambda: weights, pos_antialias=True, **levels).eval()
    assert (antialiased(x)[1] - maps["hidden.12"]).abs().max() > 0.3 * maps["hidden.12"].std()


def in_order(names: dict[str, list[int]], net: Timm) -> None:
    """Loads weights whose order is timm's and whose names are others."""
    weights = weights_of({name: shape for name, shape in names.items() if name.startswith("backbone.")})
    state = net.encoder.state_dict()
    assert [tuple(value.shape) for value in state.values()] == [tuple(value.shape) for value in weights.values()]
    net.encoder.load_state_dict(dict(zip(state, weights.values())))


@torch.inference_mode()
def test_a_mobilenet_of_stride_8_is_mmsegmentations():
    """There the first block of a dilated stage has the stage's full dilation."""
    content, stored = fixture("modern", "lraspp_mobilenet-v3-l")
    net = Timm("tf_mobilenetv3_large_100", 8, contract_dilation=False).eval()
    in_order(content["names"], net)
    maps = net(image(*CASES["L"]))
    compare({"backbone.0": maps[0], "backbone.1": maps[1], "backbone.2": maps[4]}, "L", stored, content)


@torch.inference_mode()
def test_poolformer_is_mmpretrains_at_odd_sizes():
    content, stored = fixture("modern", "poolformer_s12_fpn")
    names = {name: shape for name, shape in content["names"].items() if name.startswith("backbone.")}
    weights = weights_of(names)
    norms = [{part: weights.pop(f"backbone.norm{i}.{part}") for part in ("weight", "bias")} for i in (0, 2, 4, 6)]
    renamed = {}
    for name, value in weights.items():
        stage = re.search(r"network\.(\d)", name)
        index = (int(stage[1]) + 1) // 2 if stage else 0
        name = name.replace("backbone.patch_embed.proj", "stem.conv")
        name = re.sub(r"^backbone\.network\.[135]\.proj", f"stages_{index}.downsample.conv", name)
        name = re.sub(r"^backbone\.network\.[0246]\.", f"stages_{index}.blocks.", name)
        renamed[re.sub(r"layer_scale_(\d)$", r"layer_scale\1.scale", name)] = value
    net = Timm("poolformer_s12", pretrained=lambda: renamed).eval()
    maps = [F.group_norm(x, 1, **norm) for x, norm in zip(net(image(*CASES["B"])), norms)]
    compare({f"backbone.{i}": x for i, x in enumerate(maps)}, "B", stored, content)


TWINS = (
    (r"^backbone\.patch_embeds\.(\d)\.projection\.", r"patch_embeds.\1.proj."),
    (r"^backbone\.position_encodings\.(\d)\.proj\.", r"pos_block.\1.proj.0."),
    (r"^backbone\.layers\.", "blocks."),
    (r"^backbone\.", ""),
    (r"\.attn\.attn\.out_proj\.", ".attn.proj."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
)


@torch.inference_mode()
def test_twins_is_mmsegmentations_at_odd_sizes():
    """Every map is padded to whole patches before it is halved."""
    content, stored = fixture("modern", "twins_pcpvt-s_fpn")
    names = {name: shape for name, shape in content["names"].items() if name.startswith("backbone.")}
    renamed = {}
    for name, value in weights_of(names).items():
        for pattern, replacement in TWINS:
            name = re.sub(pattern, replacement, name)
        for part in ("weight", "bias"):
            if name.endswith(f"attn.attn.in_proj_{part}"):
                base = name.removesuffix(f"attn.in_proj_{part}")
                width = value.shape[0] // 3
                renamed |= {f"{base}q.{part}": value[:width], f"{base}kv.{part}": value[width:]}
        renamed[name] = value
    net = Timm("twins_pcpvt_small", pretrained=lambda: renamed).eval()
    maps = net(image(*CASES["B"]))
    compare({f"backbone.{i}": x for i, x in enumerate(maps)}, "B", stored, content)


def smp_upernet(encoder: str) -> nn.Module:
    return build_model(
        dict(
            type="Segmentor",
            num_classes=11,
            backbone=dict(type="Timm", name=encoder),
            head=dict(type="UPerHead", channels=256, norm_features=True, align_maps=False),
            align_corners=True,
        )
    )


@torch.inference_mode()
def test_upernet_of_segmentation_models_on_a_mix_transformer():
    content, stored = fixture("modern", "smp_upernet_mit_b0")
    net = smp_upernet("mit_b0").eval()
    keys = load_map("smp_upernet")
    keys.check({name: tuple(shape) for name, shape in content["names"].items()}, net.state_dict())
    net.load_state_dict(keys.apply(weights_of(content["names"])), strict=True)
    net.mean, net.std = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    x = image(*CASES["A"])
    outputs = {f"encoder.{i + 2}": feature for i, feature in enumerate(net.backbone(x))}
    logits = resize(net(x)["logits"], like=x, align_corners=True)
    compare({**outputs, "logits": logits}, "A", stored, content)
