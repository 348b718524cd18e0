"""configs/interactive/simpleclick and segnext against the published settings."""

from pathlib import Path

import pytest

from segkit.config import load_config
from segkit.runners.scoring import config_of_set
from segkit.schema import check

FOLDER = Path(__file__).parents[2] / "configs/interactive"

# name: crop, batch, epochs, epochs at which the rate falls, images per epoch, min area, background, scales, rate
TRAINED = {
    f"simpleclick/simpleclick_{size}_{data}": (448, 32, *rest)
    for size, data, *rest in (
        ("xt", "cocolvis", 230, (200,), 30000, 1000, 0.05, (0.75, 1.40), 5e-5),
        ("xt", "sbd", 1001, (800, 900), 8498, 80, 0.01, (0.75, 1.25), 1e-5),
        *((size, "cocolvis", 55, (50,), 30000, 1000, 0.05, (0.75, 1.40), 5e-5) for size in "blh"),
        *((size, "sbd", 55, (50,), 8498, 80, 0.01, (0.75, 1.25), 5e-5) for size in "blh"),
        ("b", "cocolvis_layer-decay", 55, (50,), 30000, 1000, 0.05, (0.75, 1.40), 5e-5),
    )
} | {
    f"segnext/segnext_b_{fusion}_cocolvis": (1024, 16, 100, (50, 90), 30000, 1000, 0.05, (0.75, 1.40), 5e-5)
    for fusion in ("sax1", "sax2")
}
TRAINED["segnext/segnext_b_sax2_hqseg44k"] = (1024, 12, 100, (50, 90), 30000, 1000, 0.05, (0.75, 1.40), 5e-5)


def test_every_config_is_in_the_table():
    found = {path for folder in ("simpleclick", "segnext") for path in (FOLDER / folder).glob("*.py")}
    assert {str(path.relative_to(FOLDER).with_suffix("")) for path in found} == TRAINED.keys()


@pytest.mark.parametrize("name", TRAINED)
def test_the_published_settings(name):
    crop, batch, epochs, falls, images, area, background, scales, rate = TRAINED[name]
    cfg = load_config(FOLDER / f"{name}.py")
    check(cfg)
    train, until = cfg["train"], cfg["train"]["transforms"][0]
    assert (train["batch_size"], until["min_area"], until["keep_background"]) == (batch, area, background)
    first = until["transforms"][0]
    assert (first["low"], first["high"]) == scales
    sizes = {tuple(t["size"]) for t in until["transforms"] if "size" in t}
    assert sizes == {(crop, crop)}
    assert cfg["runner"] == dict(type="Interactive", iterations=3)
    assert cfg["loop"]["steps"] == epochs * (images // batch)
    assert cfg["schedule"] == dict(type="MultiStep", milestones=tuple(fall * (images // batch) for fall in falls))
    assert cfg["optimizer"]["type"] == "Adam" and cfg["optimizer"]["lr"] == rate
    assert [row["type"] for row in cfg["losses"]] == ["NormalizedFocal"]
    assert (cfg["losses"][0]["alpha"], cfg["losses"][0]["gamma"]) == (0.5, 2.0)


@pytest.mark.parametrize("name", TRAINED)
def test_the_published_protocol(name):
    cfg = load_config(FOLDER / f"{name}.py")
    sets = {key: config_of_set(cfg, part)["inference"]["clicks"] for key, part in cfg["test"].items()}
    if "segnext" in name:
        # NoC95, NoF95 and 5-mIoU need all clicks of every object
        expected = dict(flip=False, target_iou=1.01, zoom=dict(squash=True, target=(1024, 1024)))
        assert all(clicks == expected for clicks in sets.values()) and {"DAVIS", "HQSeg44K"} <= sets.keys()
        return
    assert sets["DAVIS"] == dict(zoom=dict(skip=-1, target=(672, 672)))
    assert all(clicks == dict(zoom=dict(skip=-1, target=(448, 448))) for key, clicks in sets.items() if key != "DAVIS")


def test_the_fine_tuning_on_fine_masks_starts_from_the_network_of_coco_lvis():
    tuned, start = (load_config(FOLDER / f"segnext/segnext_b_sax2_{name}.py") for name in ("hqseg44k", "cocolvis"))
    assert tuned["init"] == dict(path="work_dirs/segnext_b_sax2_cocolvis/last.pt") and "init" not in start
    assert tuned["train"]["dataset"] == dict(type="HQSeg44KClicks")
    same = ("model", "losses", "optimizer", "runner", "inference", "test")
    assert all(tuned[key] == start[key] for key in same)
    assert tuned["train"]["transforms"] == start["train"]["transforms"]
