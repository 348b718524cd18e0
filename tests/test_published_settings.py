"""Settings of configs that claim a published one, by the facts of that publication, as far as no network shows them."""

from pathlib import Path

import numpy as np
import pytest

from segkit.config import load_config
from segkit.registry import TRANSFORMS, build
from segkit.types import IGNORE

ROOT = Path(__file__).parents[1] / "configs"

IMAGES = {
    "setr/setr_mla_vit-l_160k_ade20k_512x512": 8,
    "setr/setr_pup_vit-l_160k_ade20k_512x512": 16,
    "segmenter/segmenter_vit-l_mask_160k_ade_640": 8,
    "segformer/segformer_mit-b1_160k_cityscapes_1024x1024": 8,
    "upernet/upernet_beit-l_320k_ade20k_640x640": 8,
    "knet/knet_upernet_r50_80k_ade20k_512x512": 16,
    "twins/twins_pcpvt-s_fpn_80k_ade20k_512x512": 32,
    "twins/twins_pcpvt-b_fpn_80k_ade20k_512x512": 32,
    "twins/twins_pcpvt-l_fpn_80k_ade20k_512x512": 32,
    "twins/twins_svt-s_uper_160k_ade20k_512x512": 16,
    "poolformer/semfpn_poolformer_s12_40k_ade20k_512x512": 32,
    "stdc/stdc2_80k_cityscapes_512x1024": 48,
}
"""Config -> images a step, of four processes."""


@pytest.mark.parametrize("config", IMAGES)
def test_images_of_a_step(config):
    assert 4 * load_config(ROOT / f"{config}.py")["train"]["batch_size"] == IMAGES[config]


@pytest.mark.parametrize("size", "sml")
def test_of_pidnet_the_integral_branch_alone_drops_channels(size):
    """Its classifier is the one of mmsegmentation's base class; the others are plain convolutions there."""
    model = load_config(ROOT / f"pidnet/pidnet_{size}_120k_cityscapes_1024x1024.py")["model"]
    assert model["head"]["dropout"] == 0.1
    assert [aux.get("dropout", 0.0) for aux in model["aux"]] == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["r50", "r101", "panoptic_r50"])
def test_mask2former_trains_the_normalizations_of_resnets_on_cityscapes_alone(kind):
    trained = load_config(ROOT / f"mask2former/mask2former_{kind}_90k_cityscapes_512x1024.py")
    backbone = trained["model"]["backbone"]
    assert (backbone["norm_eval"], backbone["train_norms"], trained["loop"]["sync_bn"]) == (False, True, True)
    size = "640x640" if kind.startswith("panoptic") else "512x512"
    frozen = load_config(ROOT / f"mask2former/mask2former_{kind}_160k_ade20k_{size}.py")
    backbone = frozen["model"]["backbone"]
    assert (backbone.get("norm_eval", True), backbone["train_norms"]) == (True, False)
    assert not frozen["loop"].get("sync_bn", False)
    assert trained["loop"]["amp"] == frozen["loop"]["amp"] == "auto"


def test_maskformer_on_swin_does_not_decay_its_queries():
    groups = load_config(ROOT / "maskformer/maskformer_swin-s_160k_ade20k_512x512.py")["optimizer"]["groups"]
    assert any("query_embedding" in group.get("match", "") and group["decay"] == 0 for group in groups)


def test_segmenter_l_resizes_to_640():
    cfg = load_config(ROOT / "segmenter/segmenter_vit-l_mask_160k_ade_640.py")
    resize, crop, *_ = cfg["train"]["transforms"]
    assert (resize["scale"], crop["size"]) == ((640, 2560), (640, 640))
    assert all(cfg[section]["transforms"][0]["size"] == (640, 2560) for section in ("val", "test"))
    assert cfg["inference"] == dict(mode="slide", crop=(640, 640), stride=(608, 608))


@pytest.mark.parametrize("config", ["r50_160k_ade20k_512x512", "swin-b_160k_ade20k_640x640"])
def test_padding_of_mask2former_is_128_and_below(config):
    """No change of colours and no flip reaches it."""
    rows = load_config(ROOT / f"mask2former/mask2former_{config}.py")["train"]["transforms"]
    transforms = [build(dict(row), TRANSFORMS, "train.transforms") for row in rows]
    image = np.full((30, 60, 3), 200, np.uint8)
    for seed, is_smaller in ((0, False), (11, True), (14, True)):
        rng, sample = np.random.default_rng(seed), dict(image=image, mask=np.ones((30, 60), np.uint8))
        for transform in transforms:
            sample = transform(sample, rng)
        outside = sample["mask"] == IGNORE
        assert outside.any() == is_smaller and (sample["image"][outside] == 128).all()
        below = np.arange(len(outside))[:, None] >= (~outside).any(1).sum()
        assert np.array_equal(outside, np.broadcast_to(below, outside.shape))


@pytest.mark.parametrize("config", ["l_39k_ade_512", "l_20k_cityscapes_1024"])
def test_colors_of_eomt_change_one_by_one(config):
    """Each half of the time, by torchvision's functions; the hue by 18 degrees, where Photometric's 18 are 36."""
    rows = load_config(ROOT / f"eomt/eomt_dinov2-{config}.py")["train"]["transforms"]
    changes = [row for row in rows if row["type"] == "ColorJitter"]
    assert all(row["p"] == 0.5 for row in changes)
    strengths = [{key: value for key, value in row.items() if key not in ("type", "p") and value} for row in changes]
    assert strengths == [{"brightness": 32 / 255}, {"contrast": 0.5}, {"saturation": 0.5}, {"hue": 0.05}]
    assert [row["type"] for row in rows[4:]] == ["Flip", "RandomResize", "RandomCrop"]


@pytest.mark.parametrize("config, rate", [("pcpvt-b_fpn_80k", 0.2), ("pcpvt-l_fpn_80k", 0.2), ("svt-l_uper_160k", 0.3)])
def test_twins_drop_as_many_paths_as_in_mmsegmentation(config, rate):
    backbone = load_config(ROOT / f"twins/twins_{config}_ade20k_512x512.py")["model"]["backbone"]
    assert backbone["drop_path_rate"] == rate
