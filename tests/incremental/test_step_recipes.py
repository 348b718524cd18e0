"""What the configs train with: published crops, class weights by name, and one first step shared by a study."""

import json
import random
import shutil
from pathlib import Path

import pytest

from segkit.api import build_runner
from segkit.cli.main import main
from segkit.config import load_config
from segkit.data.incremental.class_steps import ClassSteps
from segkit.data.statistics import class_statistics
from segkit.data.transforms.crops import RandomResizedCrop
from segkit.engine.setup import DataSets, build_dataset
from segkit.readers.python_config import dump
from tests.incremental.test_step_runs import PLAIN, config, loop_of

ROOT = Path(__file__).parents[2]
CROPS = json.loads((ROOT / "tests/fixtures/mib/crops.json").read_text())


class PythonsRandom:
    """Python's generator under numpy's names, as the published augmentation draws."""

    def __init__(self, seed: int):
        self.own = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return self.own.uniform(low, high)

    def integers(self, end: int) -> int:
        return self.own.randint(0, end - 1)


@pytest.mark.parametrize("size", CROPS)
def test_crops_are_the_published_ones(size):
    """30 crops of images of this size: equal numbers drawn, equal boxes."""
    width, height = map(int, size.split("x"))
    row = load_config(ROOT / "configs/incremental/mib_voc_15-5.py")["train"]["transforms"][0]
    crop, rng = RandomResizedCrop(row["size"], area=row["area"]), PythonsRandom(42)
    drawn = [crop._draw((height, width), rng) for _ in CROPS[size]]
    assert [[y, x, *box] for y, x, box in drawn] == CROPS[size]


def test_class_weights_by_name_are_of_each_steps_labels(tmp_path):
    rows = [dict(type="CrossEntropy", on="logits", target="mask", class_weight="inverse")]
    cfg = config(rows, steps=((0, 1, 2, 3), (4, 5)), init="random")
    cfg["losses"] = rows
    loop = loop_of(cfg, tmp_path)
    first = class_statistics(loop.dataset).weights("inverse")
    assert loop.stage_cfg["losses"][0]["class_weight"] == first and len(first) == 4
    loop.fit()
    own = loop.stage_cfg["losses"][0]["class_weight"]
    # a later step labels none of the old classes: they weigh nothing
    assert own == class_statistics(loop.dataset).weights("inverse") and own[1:4] == [0, 0, 0] and own[4] > 0


def test_a_law_that_is_none_is_refused_before_training(tmp_path, capsys):
    cfg = config([dict(type="CrossEntropy", on="logits", target="mask", class_weight="invers")])
    (tmp_path / "run.py").write_text(dump(cfg))
    assert main(["train", str(tmp_path / "run.py"), "--check"]) == 2
    assert "runner.losses.0.class_weight = 'invers': no such law; did you mean 'inverse'" in capsys.readouterr().err


def test_scores_of_a_shared_first_step_are_the_runs_own(tmp_path):
    loop_of(config(PLAIN, steps=((0, 1, 2, 3), (4, 5))), tmp_path / "a").fit()
    whole = json.loads((tmp_path / "a/metrics.json").read_text())
    shutil.rmtree(tmp_path / "a/step1")
    cfg = config(PLAIN, steps=((0, 1, 2, 3), (4, 5)), start=str(tmp_path / "a/step0/last.pt"))
    loop_of(cfg, tmp_path / "b", stage=1).fit()
    assert json.loads((tmp_path / "b/metrics.json").read_text()) == whole
    (tmp_path / "a/step0/scores.json").write_text('{"mIoU": 50.0}')  # of something else
    loop_of(cfg, tmp_path / "c", stage=1).fit()
    assert [one["step"] for one in json.loads((tmp_path / "c/metrics.json").read_text())["steps"]] == [1]


def test_check_says_how_many_images_a_step_has(tmp_path, capsys):
    (tmp_path / "run.py").write_text(dump(config()))
    assert main(["train", str(tmp_path / "run.py"), "--check"]) == 0
    said = capsys.readouterr().out
    data = build_dataset(build_runner(config()).stages(config(), DataSets())[0].overrides["train"]["dataset"])
    assert isinstance(data, ClassSteps) and data.facts[0] in said
    assert data.facts[0].startswith("images that a step trains on, of 12: step 0 ")


def test_the_study_shares_one_first_step():
    """Runs of the study begin with the same model, images and labels, but joint training and three other networks."""
    folder = ROOT / "configs/incremental/camvid"
    first = load_config(folder / "finetune_7-4.py")
    for path in sorted(folder.glob("*.py")):
        cfg = load_config(path)
        method, _, task = path.stem.partition("_")
        if method in ("dkd", "ssul", "ssul-m", "star"):  # outputs of their own: the first step is that of their 7-4
            start = None if task == "7-4" else f"work_dirs/{method}_7-4/step0/last.pt"
            assert cfg["runner"].get("start") == start and cfg["train"] == first["train"], path.name
            continue
        assert (cfg["model"], cfg["train"]) == (first["model"], first["train"]), path.name
        has_start = cfg["runner"].get("start") == "work_dirs/finetune_7-4/step0/last.pt"
        assert has_start == (path.stem not in ("finetune_7-4", "joint_7-4")), path.name
    assert first["loop"]["steps"] == 480 and first["runner"]["later"]["loop"]["steps"] == 230
