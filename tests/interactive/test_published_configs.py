"""configs/interactive against the published settings, and test sets with an `inference` of their own."""

from pathlib import Path

import pytest

from segkit.config import load_config
from segkit.registry import SCHEDULES, ConfigError
from segkit.runners.scoring import chosen_sets, config_of_set
from segkit.schema import check

FOLDER = Path(__file__).parents[2] / "configs/interactive"

# name: batch, epochs, epochs at which the rate falls, images per epoch, min area, background, rounds, previous mask
PUBLISHED = {
    "hrnet18s_itermask_cocolvis": (32, 230, (200, 220), 30000, 1000, 0.05, 3, True),
    "hrnet32_itermask_cocolvis": (32, 230, (200, 220), 30000, 1000, 0.05, 3, True),
    "hrnet18_itermask_cocolvis": (28, 230, (200, 220), 30000, 1000, 0.05, 3, True),
    "hrnet18_itermask_sbd": (28, 220, (200, 215), 8498, 80, 0.01, 3, True),
    "hrnet18_iter_cocolvis": (28, 230, (200, 220), 30000, 1000, 0.05, 3, False),
    "hrnet18_baseline_cocolvis": (28, 230, (200, 220), 30000, 1000, 0.05, 0, False),
    "r34_baseline_cocolvis": (28, 160, (140, 155), 30000, 80, 0.0, 0, False),
} | {
    f"hrnet18_{loss}_cocolvis": (28, 160, (140, 155), 30000, 80, 0.0, 0, False)
    for loss in ("bce", "fl", "softiou", "nfl")
}
for net in ("hrnet18", "r34"):
    PUBLISHED |= {
        f"{net}_baseline_coco": (28, 140, (120, 135), 30000, 1000, 0.05, 0, False),
        f"{net}_baseline_lvis": (28, 160, (140, 155), 30000, 1000, 0.05, 0, False),
        f"{net}_baseline_openimages": (28, 140, (120, 135), 30000, 1000, 0.05, 0, False),
        f"{net}_baseline_ade20k": (28, 120, (100, 115), 30000, 80, 0.05, 0, False),
        f"{net}_baseline_sbd": (28, 120, (100, 115), 8498, 80, 0.0, 0, False),
        f"{net}_baseline_voc_sbd": (28, 120, (100, 115), 1464 + 8498, 80, 0.0, 0, False),
        f"{net}_dmf_sbd": (28, 120, (100, 115), 8498, 80, 0.0, 0, False),
        f"{net}_conv1e_sbd": (28, 120, (100, 115), 8498, 80, 0.0, 0, False),
    }
for net in ("r50", "r101"):
    PUBLISHED[f"{net}_baseline_sbd"] = (28, 120, (100, 115), 8498, 80, 0.0, 0, False)


def test_every_config_is_in_the_table():
    assert {path.stem for path in FOLDER.glob("*.py")} == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_settings(name):
    batch, epochs, falls, images, min_area, background, rounds, previous = PUBLISHED[name]
    cfg = load_config(FOLDER / f"{name}.py")
    train, until = cfg["train"], cfg["train"]["transforms"][0]
    assert (train["batch_size"], until["min_area"], until["keep_background"]) == (batch, min_area, background)
    assert cfg["runner"]["iterations"] == rounds and cfg["model"].get("previous_mask", True) is previous
    assert train["dataset"].get("stuff_prob", 0) == (0.3 if name.endswith(("coco", "cocolvis", "ade20k")) else 0)
    # whole batches only; the last step of an epoch has the rate of that epoch
    per_epoch, total = images // batch, cfg["loop"]["steps"]
    assert total == epochs * per_epoch
    schedule = dict(cfg["schedule"])
    law = SCHEDULES.get(schedule.pop("type"), "schedule")(**schedule)
    assert cfg["optimizer"]["type"] == "Adam" and cfg["optimizer"]["lr"] == 5e-4
    for number, fall in enumerate(falls, 1):
        before, after = (law.rate(5e-4, step, total) for step in (fall * per_epoch - 1, fall * per_epoch))
        assert (before, after) == pytest.approx((5e-4 * 0.1 ** (number - 1), 5e-4 * 0.1**number))


def test_sets_are_drawn_as_published():
    samplers = {name: load_config(FOLDER / f"{name}.py")["train"]["sampler"]["type"] for name in PUBLISHED}
    for name, sampler in samplers.items():
        kind = "Shuffle" if "voc" in name else "ByScore" if "sbd" in name else "Uniform"
        assert sampler == kind, name


def test_a_set_has_an_inference_of_its_own():
    cfg = load_config(FOLDER / "hrnet18_itermask_cocolvis.py", ("inference.clicks.zoom.skip=2",))
    cfg.setdefault("inference", {})
    targets = {name: config_of_set(cfg, part)["inference"]["clicks"] for name, part in cfg["test"].items()}
    assert targets["DAVIS"] == {"zoom": {"skip": 2, "target": 600}}
    assert targets["GrabCut"] == {"zoom": {"skip": 2}} == cfg["inference"]["clicks"]
    with pytest.raises(ConfigError, match=r"test\.DAVIS\.inference\.clicks\.zoom\.tagret.*target"):
        check(load_config(FOLDER / "hrnet18_nfl_cocolvis.py", ("test.DAVIS.inference.clicks.zoom.tagret=600",)))
    with pytest.raises(ConfigError, match=r"val\.inference"):
        check(load_config(FOLDER / "hrnet18_nfl_cocolvis.py", ("val.inference.threshold=.4",)))


def test_some_of_the_sets():
    parts = {"DAVIS": {"a": 1}, "SBD": {"b": 2}}
    assert chosen_sets(parts, ()) == parts
    assert chosen_sets(parts, ["SBD"]) == {"SBD": {"b": 2}}
    with pytest.raises(ConfigError, match="--sets davis: the config names DAVIS, SBD"):
        chosen_sets(parts, ["davis"])
