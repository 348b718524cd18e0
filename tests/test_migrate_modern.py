"""segkit migrate mmseg for transformers, mobile and real-time networks, heads of queries, and more data sets.

tests/fixtures/migrate/modern holds configs, in our words, of systems whose tensor names tests/fixtures/modern has.
"""

import inspect
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.data.semantic.folder import Folder
from segkit.engine.optim import build_optimizer
from segkit.migrate.mmseg import migrate
from segkit.recipe.compose import loaded
from segkit.registry import BACKBONES, HEADS, ConfigError, Registry, build_model, without_start_weights
from segkit.schema import check
from tests.test_layer_decay import PUBLISHED, given
from tests.test_migrate import migrated, written
from tests.test_oracles_transformers import content_of

FOLDER = Path(__file__).parent / "fixtures/migrate/modern"
CONFIGS = Path(__file__).parents[1] / "configs"
SYSTEMS = {
    "ddrnet_23-slim": ("mmseg_ddrnet", "ddrnet_23-slim"),
    "deeplabv3plus_mobilenet-v2": ("mmseg_mobilenet_v2", "deeplabv3plus_mobilenet-v2"),
    "dpt_vit-b16": ("mmseg_dpt", "dpt_vit-b16"),
    "knet_r50-d8_upernet": ("mmseg_knet", "knet_r50"),
    "lraspp_mobilenet-v3-l": ("mmseg_lraspp", "lraspp_mobilenet-v3-l"),
    "mask2former_r50_ade": ("mmseg_mask2former", "mask2former_r50"),
    "maskformer_r50_ade": ("mmseg_maskformer", "maskformer_r50"),
    "pidnet-s": ("mmseg_pidnet", "pidnet_s"),
    "poolformer_s12_fpn": ("mmseg_poolformer", "semfpn_poolformer_s12"),
    "segmenter_vit-t_mask": ("mmseg_segmenter", "segmenter_vit-t_mask"),
    "segnext_mscan-t": ("mmseg_segnext", "segnext_t"),
    "setr_vit-l_mla": ("mmseg_setr_mla", "setr_mla_vit-l"),
    "setr_vit-l_pup": ("mmseg_setr", "setr_pup_vit-l"),
    "twins_pcpvt-s_fpn": ("mmseg_twins", "twins_pcpvt-s_fpn"),
    "twins_svt-s_uper": ("mmseg_twins", "twins_svt-s_uper"),
    "upernet_beit-b_640": ("mmseg_beit", "upernet_beit-b"),
    "upernet_convnext-t": ("mmseg_convnext", "upernet_convnext-t"),
    "upernet_deit-s16-ln-mln": ("mmseg_vit", "upernet_deit-s16"),
    "upernet_mae-b_512": ("mmseg_beit", "upernet_mae-b"),
    "upernet_swin-t": ("mmseg_swin", "upernet_swin-t"),
}
"""Fixture -> key map, config of the model zoo."""

QUICK = ("lraspp_mobilenet-v3-l", "upernet_deit-s16-ln-mln")


def network(cfg: dict) -> nn.Module:
    with torch.device("meta"):
        return build_model(without_start_weights(cfg["model"]))


def config(name: str) -> dict:
    cfg = loaded(migrate(FOLDER / f"{name}.py").text, "migrated.py")
    check(cfg)
    return cfg


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in SYSTEMS])
def test_networks_have_mmsegmentations_tensors(name):
    names = content_of(name)["names"]
    assert len(names) > 100
    keys = load_map(SYSTEMS[name][0])
    keys.check({key: tuple(shape) for key, shape in names.items()}, network(config(name)).state_dict())


DIFFERENT = {
    # mmsegmentation normalizes by ImageNet's numbers, timm's weights are made with others
    "lraspp_mobilenet-v3-l": {"backbone": dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))},
    "mask2former_r50_ade": {"backbone": dict(norm_eval=False)},
    "upernet_deit-s16-ln-mln": {"backbone": dict(norm_levels=(-1,)), "neck": dict(type="MultiLevelNeck")},
    "segmenter_vit-t_mask": {"backbone": dict(mean=(127.5,) * 3, std=(127.5,) * 3)},
}
"""What the published config has and the model zoo's has not."""


def stated(part: dict, registry: Registry) -> dict:
    """A part without what its class has by itself, and without timm's name of the weights."""
    known = inspect.signature(registry.get(part["type"])).parameters
    made = {key: value for key, value in part.items() if key == "type" or value != known[key].default}
    if made.get("num_convs") == 0:
        made.pop("kernel", None)  # of no convolution
    made |= {"name": made["name"].partition(".")[0]} if "name" in made else {}
    return {key: value for key, value in made.items() if key != "pretrained"}


@pytest.mark.parametrize("name", SYSTEMS)
def test_networks_are_those_of_the_model_zoo(name):
    found = config(name)["model"]
    ours = load_config(CONFIGS / f"_base_/models/{SYSTEMS[name][1]}.py", [f"num_classes={found['num_classes']}"])
    wanted = ours["model"]
    for part, more in DIFFERENT.get(name, {}).items():
        wanted[part] = wanted.get(part, {}) | more
    for model in (found, wanted):
        model["backbone"], model["head"] = stated(model["backbone"], BACKBONES), stated(model["head"], HEADS)
        model["aux"] = [stated(part, HEADS) for part in model.get("aux", ())]
    assert found == wanted


def test_losses():
    hard = dict(type="OHEM", loss=dict(type="CrossEntropy"), threshold=0.9, min_kept=131072)
    assert config("pidnet-s")["losses"] == [
        dict(type="CrossEntropy", average="all", on="aux0.logits", target="mask", weight=0.4),
        dict(hard, on="logits", target="mask"),
        dict(
            type="BoundaryBCE",
            width=4,
            train_ignored=True,
            average="all",
            on="aux1.edge",
            target="mask",
            weight=20.0,
        ),
        dict(hard, type="BoundaryOHEM", on=["logits", "aux1.edge"], target="mask"),
    ]
    assert [(row["on"], row.get("weight")) for row in config("ddrnet_23-slim")["losses"]] == [
        ("logits", None),
        ("aux0.logits", 0.4),
    ]
    assert [row["on"] for row in config("knet_r50-d8_upernet")["losses"]] == [
        "logits",
        "stage*.logits",
        "aux0.logits",
    ]
    assert config("mask2former_r50_ade")["losses"] == [dict(type="Mask2FormerSemantic")]
    assert config("maskformer_r50_ade")["losses"] == [dict(type="MaskFormerSemantic")]


WEIGHTS = """
model = dict(
    decode_head=dict(
        loss_cls=dict(loss_weight=3.0, class_weight=[1.0] * 150 + [0.2]),
        train_cfg=dict(
            num_points=100,
            assigner=dict(
                match_costs=[
                    dict(type="mmdet.ClassificationCost", weight=3.0),
                    dict(type="mmdet.CrossEntropyLossCost", weight=5.0, use_sigmoid=True),
                    dict(type="mmdet.DiceCost", pred_act=True, eps=1.0, weight=5.0),
                ]
            ),
        ),
    )
)
"""


def beside(place: Path, text: str, base: str) -> Path:
    """A config over one of the modern fixtures, in a copy of their folder."""
    for source in (*FOLDER.glob("*.py"), *(FOLDER.parent / "_base_").glob("*.py")):
        target = place / source.relative_to(FOLDER.parent)
        target.parent.mkdir(exist_ok=True, parents=True)
        target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    file = place / "modern/mine.py"
    file.write_text(f"_base_ = './{base}.py'\n{text}", encoding="utf-8")
    return file


def test_weights_of_queries(tmp_path):
    found = migrate(beside(tmp_path, WEIGHTS, "mask2former_r50_ade")).sections
    assert found["losses"] == [dict(type="Mask2FormerSemantic", category=3.0, no_object=0.2, points=100)]
    assert found["inference"] == dict(pad_divisor=32)


REFUSED = {
    ("mask2former_r50_ade", "model = dict(decode_head=dict(loss_cls=dict(loss_weight=3.0)))"): "must be 3.0",
    ("mask2former_r50_ade", "model = dict(decode_head=dict(num_transformer_feat_level=4))"): "has 3 alone",
    ("mask2former_r50_ade", "model = dict(decode_head=dict(pixel_decoder=dict(own=1)))"): "pixel_decoder.own = 1",
    ("mask2former_r50_ade", "model = dict(decode_head=dict(in_index=[0, 1]))"): "in_index = .*cannot read these maps",
    ("knet_r50-d8_upernet", "model = dict(decode_head=dict(num_stages=2))"): "num_stages = 2",
    ("pidnet-s", "model = dict(decode_head=dict(loss_decode=_base_.hard))"): "loss_decode = .*segkit migrates 4",
    ("upernet_swin-t", "model = dict(backbone=dict(depths=[2, 2, 9, 2]))"): r"\(embed_dims, depths, window_size\)",
    ("upernet_swin-t", "model = dict(backbone=dict(use_abs_pos_embed=True))"): "use_abs_pos_embed = True",
    ("upernet_beit-b_640", "optim_wrapper = dict(paramwise_cfg=dict(num_layers=24))"): "num_layers = 24: must be 12",
    ("upernet_convnext-t", "optim_wrapper = dict(paramwise_cfg=dict(decay_type='layer_wise'))"): "this is ConvNeXt",
    ("twins_svt-s_uper", "model = dict(backbone=dict(norm_cfg=dict(type='BN')))"): "has LN alone",
    ("segmenter_vit-t_mask", "model = dict(decode_head=dict(dropout_ratio=0.1))"): "SegmenterHead drops nothing",
    ("lraspp_mobilenet-v3-l", "model = dict(backbone=dict(out_indices=(0, 1, 2)))"): r"\(arch, out_indices\)",
}


@pytest.mark.parametrize("base, text", REFUSED)
def test_what_segkit_has_not_is_refused_by_its_key(base, text, tmp_path):
    with pytest.raises(ConfigError, match=REFUSED[base, text]) as found:
        migrate(beside(tmp_path, text, base))
    assert "\n" not in str(found.value) and str(tmp_path) in str(found.value)


# rates and decays


def rows_of(name: str) -> list[dict]:
    return config(name)["optimizer"].get("groups", [])


def factors(rows: list[dict], name: str, *, is_norm: bool = False) -> tuple[float, float]:
    """The products of the rows that match a name: of the rate, and of the decay."""
    found = [row for row in rows if re.search(row.get("match", ""), name) and (row.get("kind") != "norm" or is_norm)]
    return math.prod(row.get("lr", 1.0) for row in found), math.prod(row.get("decay", 1.0) for row in found)


def test_a_swins_normalizations_decay_by_their_own_keys():
    rows = rows_of("mask2former_swin-t_ade")
    encoder = "backbone.encoder.model.layers_0.blocks.0"
    assert factors(rows, f"{encoder}.norm1.weight", is_norm=True) == (0.1, 0.0)
    assert factors(rows, f"{encoder}.attn.qkv.weight") == (0.1, 1.0)
    assert factors(rows, f"{encoder}.attn.relative_position_bias_table") == (0.1, 0.0)
    assert factors(rows, "head.query_features") == (1.0, 0.0)
    assert factors(rows, "head.layers.0.norms.0.weight", is_norm=True) == (1.0, 0.0)
    assert factors(rows, "head.classify.weight") == (1.0, 1.0)


def test_factors_are_relative_to_those_of_the_part(tmp_path):
    """mmengine: a parameter has the factors of the longest key alone."""
    text = """
keys = dict(backbone=dict(lr_mult=0.5), pos_embed=dict(lr_mult=2.0, decay_mult=0.0), head=dict(lr_mult=10.0))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=keys, norm_decay_mult=0.0))
"""
    rows = migrate(beside(tmp_path, text, "upernet_deit-s16-ln-mln")).sections["optimizer"]["groups"]
    assert factors(rows, "backbone.encoder.model.pos_embed") == (2.0, 0.0)
    assert factors(rows, "backbone.encoder.model.blocks.0.norm1.weight", is_norm=True) == (0.5, 1.0)
    assert factors(rows, "backbone.encoder.model.cls_token") == (1.0, 0.0)  # by its own key, which is longer
    assert factors(rows, "aux.0.convs.0.bn.weight", is_norm=True) == (10.0, 1.0)
    assert factors(rows, "neck.convs.0.weight", is_norm=True) == (1.0, 0.0)


RATES = {
    "upernet_swin-t": "upernet_swin-t",
    "upernet_convnext-t": "upernet_convnext-t",
    "upernet_beit-b_640": "upernet_beit-b",
    "upernet_mae-b_512": "upernet_mae-b",
    "twins_pcpvt-s_fpn": "twins_pcpvt-s_fpn",
    "dpt_vit-b16": "dpt_vit-b16",
    "setr_vit-l_pup": "setr_vit-l_pup",
}
"""Fixture -> name among the rates and decays that published constructors gave."""


@pytest.mark.slow
@pytest.mark.parametrize("name", RATES)
def test_rates_and_decays_are_those_of_the_published_constructors(name):
    cfg, published = config(name), PUBLISHED[RATES[name]]
    base, section = published["base"], cfg["optimizer"]
    assert (section["type"], section["lr"], section["weight_decay"]) == (base["type"], base["lr"], base["weight_decay"])
    found, keys, compared = given(network(cfg), section), load_map(SYSTEMS[name][0]), 0
    for theirs, wanted in published["factors"].items():
        own = keys.rename(theirs)[0]
        for part in (own, *(own.replace("in_proj_", f"{part}.") for part in ("q", "kv"))) if own else ():
            if part in found:
                assert found[part] == pytest.approx(tuple(wanted), rel=1e-5), part
                compared += 1
    assert compared >= 0.85 * len(found)


def test_what_is_frozen():
    """mmpretrain's PoolFormer does not train its patch embedding at frozen_stages=0."""
    cfg = config("poolformer_s12_fpn")
    assert cfg["optimizer"]["freeze"] == ("backbone.encoder.stem",)
    model = network(cfg)
    build_optimizer(cfg["optimizer"], model)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"backbone.encoder.stem.conv.weight", "backbone.encoder.stem.conv.bias"}


# runs


def test_hooks_wherever_they_stand(tmp_path):
    text = """
stop = dict(type="EarlyStoppingHook", monitor="mIoU", patience=4, min_delta=0.005)
default_hooks = dict(ema=dict(type="EMAHook", momentum=0.001), stop=stop)
custom_hooks = [dict(type="CheckpointHook", by_epoch=False, interval=500, save_best="mIoU")]
default_hooks["checkpoint"] = None
"""
    found = migrated(tmp_path, text)
    loop = found.sections["loop"]
    assert (loop["ema"], loop["patience"], loop["monitor"], loop["save_every"]) == (0.999, 4, "mIoU", 500)
    assert any("min_delta" in note for note in found.notes)


EPOCHS = """
train_cfg = dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=40, val_interval=2)
param_scheduler = [dict(type="MultiStepLR", milestones=[20, 30], by_epoch=True)]
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1))
"""


def test_a_run_by_epochs(tmp_path):
    found = migrated(tmp_path, EPOCHS)
    assert found.sections["loop"] == dict(epochs=40, log_every=50)
    assert found.sections["schedule"] == dict(type="MultiStep", milestones=(0.5, 0.75))
    assert any("loop.eval_every" in note for note in found.notes)
    (tmp_path / "poly").mkdir()
    poly = EPOCHS.replace('"MultiStepLR", milestones=[20, 30]', '"PolyLR", power=0.9, begin=0, end=40')
    found = migrated(tmp_path / "poly", poly)
    assert found.sections["schedule"] == dict(type="Poly", power=0.9, warmup=dict(steps=0, law="mmengine"))
    assert any("after every epoch there" in note for note in found.notes)


# data sets


def own_set(kind: str, root: Path, more: str = "") -> str:
    return f"""
mine = dict(
    _delete_=True,
    type="{kind}",
    data_root="{root}",
    data_prefix=dict(img_path="images", seg_map_path="labels"),
    pipeline=[],
    {more}
)
train_dataloader = dict(dataset=mine)
"""


def test_sets_of_images_and_masks_in_folders(tmp_path):
    for folder in ("images", "labels", "a", "b", "c"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "images/im0001.png"), np.zeros((4, 6, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "labels/im0001.ah.png"), np.ones((4, 6), np.uint8))
    section = migrated(tmp_path / "a", own_set("STAREDataset", tmp_path)).sections["train"]["dataset"]
    assert section["classes"] == ("background", "vessel") and section["mask_suffix"] == ".ah"
    data = Folder(**{key: value for key, value in section.items() if key != "type"})
    assert len(data) == 1 and (data.mask(0) == 1).all()
    section = migrated(tmp_path / "b", own_set("LoveDADataset", tmp_path)).sections["train"]["dataset"]
    assert section["reduce_zero_label"] is True and len(section["classes"]) == 7
    chosen = 'metainfo=dict(classes=("ship", "plane")),'
    section = migrated(tmp_path / "c", own_set("iSAIDDataset", tmp_path, chosen)).sections["train"]["dataset"]
    assert section["classes"] == ("ship", "plane") and section["mask_suffix"] == "_instance_color_RGB"
    assert {label: to for label, to in section["label_map"].items() if to != "ignore"} == {1: 0, 14: 1}
    assert len(section["label_map"]) == 16


def test_the_number_of_classes_of_each_set():
    from segkit.migrate.known_sets import FILES

    counts = {name: len(files.classes) for name, files in FILES.items()}
    assert counts["PascalContextDataset"] == 60 and counts["PascalContextDataset59"] == 59
    assert counts["MapillaryDataset_v1"] == 66 and counts["PotsdamDataset"] == counts["ISPRSDataset"] == 6
    assert all(len({*files.classes}) == len(files.classes) for files in FILES.values())


def test_dilated_convolutions_of_fcn(tmp_path):
    text = "model = dict(decode_head=dict(dilation=6), auxiliary_head=dict(dilation=6))"
    cfg = loaded(migrate(written(tmp_path, text, "fcn_r50-d8")).text, "made.py")
    assert cfg["model"]["head"]["dilation"] == cfg["model"]["aux"][0]["dilation"] == 6
    net = network(cfg)
    assert [layer.conv.dilation for layer in net.head.convs] == [(6, 6)] * 2 and net.head.merge.conv.dilation == (1, 1)
    assert [layer.conv.padding for layer in net.head.convs] == [(6, 6)] * 2
