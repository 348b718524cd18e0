"""A training of CascadePSP from config to refiner: two steps on drawn shapes."""

import torch

from segkit import api
from segkit.config import load_config
from segkit.refiners.cascade_psp import CascadePSP
from tests.oracles import ROOT
from tests.refiners.cascades import TINY

ROWS = [
    dict(type="MaskDistance", on="logits", target="mask", bce=0.0, l1=1.0, l2=1.0),
    dict(type="SobelL1", on="logits", target="mask", weight=5.0),
    dict(type="MaskDistance", on="pass?.os8.logits", target="mask"),
    dict(type="MaskDistance", on="pass?.os4.logits", target="mask", bce=0.5, l1=0.25, l2=0.25),
]


def test_training_scores_and_its_checkpoint_refines(tmp_path):
    cfg = dict(
        model=TINY,
        losses=ROWS,
        runner=dict(type="MaskRefinement", side=66, is_fast=True),
        train=dict(
            batch_size=2,
            workers=0,
            dataset=dict(type="ShapesClicks", split="train", length=4),
            transforms=[dict(type="CoarseMask", min_area=20)],
        ),
        val=dict(dataset=dict(type="ShapesClicks", split="val", length=1)),
        metrics=[dict(type="Confusion"), dict(type="BoundaryAccuracy")],
        optimizer=dict(type="Adam", lr=1e-4),
        loop=dict(steps=2, log_every=1, monitor="mBA.mean"),
    )
    result = api.train(cfg, tmp_path / "run", device="cpu")
    assert result.step == 2 and result.monitor == "mBA.mean" and 0 <= result.best <= 100
    refiner = CascadePSP(tmp_path / "run/last.pt", 66, is_fast=True)
    mask = torch.zeros(1, 1, 40, 50)
    mask[..., 10:30, 10:40] = 1
    assert refiner.refine(torch.zeros(1, 3, 40, 50), mask).shape == mask.shape


def test_the_shipped_config_has_the_published_settings():
    """Of section 3.4 and the authors' code: jitter by factors of .8 to 1.2 and .95 to 1.05, a tenth in grey."""
    cfg = load_config(ROOT / "configs/cascadepsp/cascadepsp_r50_45k_masks_224x224.py")
    assert cfg["optimizer"] == dict(type="Adam", lr=2.25e-4, weight_decay=1e-4)
    schedule = cfg["schedule"]
    assert (schedule["type"], tuple(schedule["milestones"]), schedule["gamma"]) == ("MultiStep", (22500, 37500), 0.1)
    assert (cfg["loop"]["steps"], cfg["train"]["batch_size"]) == (45000, 12)
    crop, flip, jitter, grey, coarse = cfg["train"]["transforms"]
    assert (crop["size"], flip["type"], grey) == (224, "Flip", dict(type="Grayscale", p=0.1))
    assert jitter == dict(type="ColorJitter", brightness=0.2, contrast=0.05, saturation=0.05, hue=0.0, p=1.0)
    assert coarse == dict(type="CoarseMask", least=0.8, most=1.0)
