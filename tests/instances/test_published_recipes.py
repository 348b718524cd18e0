"""Numbers of the configs of published tables against those that papers and authors' code state."""

from pathlib import Path
from typing import Any

import pytest

from segkit.config import load_config

ROOT = Path(__file__).parents[2] / "configs"
SHORT_SIDES = (640, 672, 704, 736, 768, 800)
BRIGHTNESS = dict(type="Photometric", brightness=10, contrast=(1, 1), saturation=(1, 1), hue=0, p=1.0)

LEVEL_SET = {"optimizer.weight_decay": 0.1, "optimizer.groups": [dict(kind="norm", decay=0)], "loop.clip": 1.0}
LEVEL_SET |= {"schedule.warmup.steps": 2000, "train.batch_size": 2}
BOX_2_MASK = {"optimizer.weight_decay": 0.05, "loop.clip": 0.01, "runner.padding": 128}
BOX_2_MASK |= {"metrics.0.max_detections": (100, 300, 1000)}
BOX_INST = {"optimizer.weight_decay": 1e-4, "optimizer.momentum": 0.9, "schedule.warmup.steps": 500}
BOX_INST |= {"losses.1.type": "BoxInst", "model.backbone.frozen_stages": 2}
# AP of 100 detections of a class and image, AP50 and AP75 of 1,000: BoxInst keeps 2,000 of an image
BOX_INST |= {"metrics.0.max_detections": (100, 300, 1000)}
BOX_TEACHER = {"loop.ema": 0.999, "loop.ema_rise": 2, "loop.ema_buffers": False, "model.head.iou": 0.6}
BOX_TEACHER |= {"model.head.limit": 100, "model.head.candidates": 1000, "schedule.warmup.steps": 1000}
BOX_TEACHER |= {"losses.0.plus_one": True, "losses.1.target": ["clean", "boxes", "meta"]}
BOX_TEACHER |= {"schedule.warmup.factor": 0.001}
DISCO_BOX = {"optimizer.momentum": 0.9, "optimizer.weight_decay": 1e-4, "loop.clip": 35.0, "loop.amp": "fp16"}
DISCO_BOX |= {"schedule.milestones": (33 / 36, 35 / 36), "schedule.warmup.steps": 2000, "schedule.warmup.factor": 0.01}
DISCO_BOX |= {"runner.teacher_decay": 0.999, "runner.teacher_start": 13000, "model.head.channels": 512}
DISCO_BOX |= {"model.head.score_threshold": 0.1, "model.head.keep_score": 0.05, "loop.epochs": 36}
MAL = {"optimizer.lr": 4.8e-5, "optimizer.betas": (0.9, 0.9), "optimizer.weight_decay": 5e-4, "loop.epochs": 10}
MAL |= {"schedule.min_lr": 9.6e-6, "schedule.warmup.steps": 0.1, "loop.amp": "fp16", "loop.ema": 0.996}
MAL |= {"loop.ema_rise": 1, "loop.ema_buffers": False, "train.batch_size": 4, "train.dataset.side": 512}
TREE_ENERGY = {"schedule.power": 0.9, "schedule.min_lr": 0.0, "loop.amp": "fp16", "losses.1.weight": 0.4}
TREE_ENERGY |= {"losses.1.target": ["clean", "unlabelled"], "model.projection": 256, "train.transforms.-1": BRIGHTNESS}

RECIPES: dict[str, dict[str, Any]] = {
    "box_supervised/boxlevelset/boxlevelset_r50_3x_coco": LEVEL_SET
    | {"optimizer.lr": 1e-4, "loop.epochs": 36, "schedule.warmup.factor": 0.01, "model.head.mask_threshold": 0.55}
    | {"schedule.milestones": (27 / 36, 33 / 36), "train.transforms.1.sides": SHORT_SIDES},
    "box_supervised/boxlevelset/boxlevelset_r101_dcn_3x_coco": LEVEL_SET
    | {"optimizer.lr": 1e-4, "model.head.mask_threshold": 0.45, "model.backbone.deformable_stages": 3},
    "box_supervised/boxlevelset/boxlevelset_r50_3x_voc": LEVEL_SET
    | {"optimizer.lr": 5e-5, "schedule.warmup.factor": 0.001, "model.head.mask_threshold": 0.7},
    "box_supervised/boxlevelset/boxlevelset_r50_1x_isaid": LEVEL_SET
    | {"optimizer.lr": 5e-5, "schedule.warmup.factor": 0.0005, "model.head.mask_threshold": 0.45, "loop.epochs": 12}
    | {"schedule.milestones": (9 / 12, 11 / 12), "train.transforms.1.sides": (800,)},
    "box_supervised/box2mask/box2mask_c_r50_3x_voc": LEVEL_SET | {"losses.0.consistency": 0.2},
    "box_supervised/box2mask/box2mask_t_r50_50e_coco": BOX_2_MASK
    | {"optimizer.lr": 1e-4, "loop.steps": 368750, "schedule.milestones": (327778, 355092), "train.batch_size": 2},
    "box_supervised/box2mask/box2mask_t_r50_50e_voc": BOX_2_MASK
    | {"optimizer.lr": 1e-4, "loop.steps": 33065, "schedule.milestones": (29390, 31840), "loop.eval_every": 2000},
    "box_supervised/box2mask/box2mask_t_swin_t_50e_coco": BOX_2_MASK
    | {"optimizer.lr": 2e-4, "loop.steps": 184376, "schedule.milestones": (163890, 177546), "train.batch_size": 4}
    | {"model.backbone.drop_path_rate": 0.3},
    "box_supervised/boxinst/boxinst_r50_1x_coco": BOX_INST | {"optimizer.lr": 0.005, "loop.epochs": 12},
    "box_supervised/boxinst/boxinst_r101_1x_coco": BOX_INST
    | {"optimizer.lr": 0.01, "schedule.milestones": (8 / 12, 11 / 12)},
    "box_supervised/boxinst/boxinst_r50_3x_coco": BOX_INST
    | {"optimizer.lr": 0.01, "schedule.milestones": (27 / 36, 33 / 36), "model.backbone.name": "resnet50.tv_in1k"},
    "box_supervised/boxinst/boxinst_r50_3x_voc": BOX_INST | {"optimizer.lr": 0.005, "loop.epochs": 36},
    "box_supervised/boxteacher/boxteacher_r50_1x_coco": BOX_TEACHER
    | {"optimizer.lr": 0.01, "loop.steps": 90000, "schedule.milestones": (60000, 80000)},
    "box_supervised/boxteacher/boxteacher_swin_b_3x_coco": BOX_TEACHER
    | {"optimizer.type": "AdamW", "optimizer.lr": 1e-4, "optimizer.weight_decay": 0.05, "loop.steps": 270000}
    | {"schedule.milestones": (210000, 250000), "train.transforms.5": dict(type="Blur", kernel=3)},
    "box_supervised/discobox/discobox_r50_3x_coco": DISCO_BOX
    | {"optimizer.lr": 0.01, "model.head.mask_threshold": 0.4, "model.backbone.name": "resnet50.tv_in1k"},
    "box_supervised/discobox/discobox_r101_3x_voc": DISCO_BOX
    | {"optimizer.lr": 0.005, "model.head.mask_threshold": 0.5, "model.backbone.name": "resnet101.tv_in1k"},
    "box_supervised/mal/mal_vit-b_10e_coco": MAL | {"model.size": "base"},
    "box_supervised/apro/apro_solov2_r50_3x_coco": {"losses.0.kernel": 3},
    "box_supervised/apro/apro_mask2former_r50_50e_voc": {"losses.0.zeta_image": 0.02},
    "tree_energy/deeplabv3plus_r101_80k_voc_scribbles_512x512": TREE_ENERGY
    | {"optimizer.lr": 1e-3, "optimizer.groups.0.lr": 10.0, "loop.steps": 80000, "train.batch_size": 4}
    | {"train.transforms.1.low": 0.5, "train.transforms.1.high": 2.0, "model.backbone.output_stride": 16},
    "tree_energy/fcn_hr48_40k_cityscapes_blocks_512x1024": TREE_ENERGY
    | {"optimizer.lr": 1e-2, "loop.steps": 40000, "train.batch_size": 2, "losses.1.sigma": 0.002},
    "tree_energy/fcn_hr48_150k_ade20k_blocks_512x512": TREE_ENERGY
    | {"optimizer.lr": 2e-2, "loop.steps": 150000, "train.batch_size": 4, "losses.1.sigma": 0.002},
}


def at(cfg: Any, path: str) -> Any:
    """The value of a config at a path such as losses.0.weight."""
    for key in path.split("."):
        cfg = cfg[int(key)] if isinstance(cfg, list | tuple) else cfg[key]
    return cfg


@pytest.mark.parametrize("name", RECIPES)
def test_numbers_of_a_published_recipe(name):
    cfg = load_config(ROOT / f"{name}.py")
    for path, value in RECIPES[name].items():
        found = at(cfg, path)
        if isinstance(value, tuple):
            found = tuple(found)
        assert found == (pytest.approx(value) if isinstance(value, float | tuple) else value), path
