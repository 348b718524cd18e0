"""split=dict(folds=5, fold=0) and dict(ratios=...) on a data set, and parts that follow the images of another set."""

import pytest

from segkit.config import load_config
from segkit.data.dataset import Dataset
from segkit.data.interactive.labelled import LabelledClicks, LabelledClicksEval
from segkit.data.semantic.labelled import Labelled
from segkit.data.splits.split import Fold, Split
from segkit.engine.setup import build_dataset
from segkit.files import DataError
from segkit.registry import ConfigError
from segkit.schema import check
from tests.data.messy import coco_polygons


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))


def loaded(tmp_path, split, *options, more=""):
    file = tmp_path / "c.py"
    file.write_text(
        f"from segkit.config import ref\nsplit = {split}\n"
        "_set = dict(type='Shapes', length=20, split=ref('split'))\n"
        f"train, val = dict(dataset=_set), dict(dataset=_set)\n{more}\n"
    )
    return load_config(file, options)


def test_folds_are_the_rest_in_train_and_the_fold_in_val(tmp_path):
    cfg = loaded(tmp_path, "dict(folds=5, fold=1, of='train')")
    inner = dict(type="Shapes", length=20, split="train")
    assert cfg["train"]["dataset"] == dict(type="Fold", only=False, folds=5, fold=1, dataset=inner)
    assert cfg["val"]["dataset"] == dict(type="Fold", only=True, folds=5, fold=1, dataset=inner)
    assert str(cfg.origin("train.dataset.dataset.length")).endswith("c.py")
    check(cfg, needed=())
    train, val = (build_dataset(cfg[name]["dataset"]) for name in ("train", "val"))
    assert (len(train), len(val)) == (16, 4) and not {*train.ids} & {*val.ids}


def test_shares_take_the_part_of_their_section(tmp_path):
    cfg = loaded(tmp_path, "dict(ratio=0.75)", "split.seed=3", more="test = {}")
    whole = dict(type="Shapes", length=20)
    assert cfg["train"]["dataset"] == dict(type="Split", part="train", seed=3, ratios=(0.75, 0.25), dataset=whole)
    assert cfg["val"]["dataset"]["part"] == "val"
    # a test that names a split of the data leaves the shares of val alone
    cfg = loaded(tmp_path, "dict(ratios=(0.8, 0.2))", more="test = dict(dataset=dict(split='test'))")
    assert cfg["test"]["dataset"] == dict(type="Shapes", length=20, split="test")
    cfg = loaded(tmp_path, "dict(ratios=(0.5, 0.3, 0.2))", more="test = dict(two=dict(dataset=_set))")
    assert cfg["test"]["two"]["dataset"]["part"] == "test"


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("dict(seed=1)", "train.dataset.split = {'seed': 1}: give either folds and fold, as dict(folds=5, fold=0)"),
        ("dict(folds=5, ratio=0.8)", "give either folds and fold"),
        ("dict(ratios=(0.8, 0.2), ratio=0.8)", "give either folds and fold"),
        ("dict(ratio=1.5)", "train.dataset.split.ratio = 1.5: must lie between 0 and 1, the share of train"),
        ("dict(folds=5, fold=0, sead=1)", "train.dataset.sead: Fold has no argument 'sead'; did you mean 'seed'?"),
    ],
)
def test_short_forms_that_say_nothing(tmp_path, split, message):
    with pytest.raises(ConfigError) as found:
        check(loaded(tmp_path, split), needed=())
    assert message in str(found.value)


class Named(Dataset):
    """Items that are names of images alone."""

    classes, palette = ("ground",), ((0, 0, 0),)

    def __init__(self, ids):
        self.ids = list(ids)


def test_parts_follow_the_images_of_another_set(tmp_path):
    root = coco_polygons(tmp_path / "discs", count=10).root
    whole = Labelled(str(root))
    train, val = LabelledClicks(str(root)), LabelledClicksEval(str(root))
    parts = [Split(train, "train", (0.7, 0.3), like=whole), Split(val, "val", (0.7, 0.3), like=whole)]
    assert [len(part) for part in parts] == [7, 3]
    paths = [{part.path(index) for index in range(len(part))} for part in parts]
    assert not paths[0] & paths[1]
    folds = [Fold(train, 5, 2, like=whole), Fold(val, 5, 2, only=True, like=whole)]
    assert [len(part) for part in folds] == [8, 2]
    # a set that leaves images out keeps the parts of the others
    some = Named([whole.path(index) for index in range(5)])
    assert {*Split(some, "train", (0.7, 0.3), like=whole).ids} == {name for name in some.ids if name in paths[0]}
    with pytest.raises(DataError, match=r"Split.like: Labelled lacks the image strange.png of Named"):
        Split(Named(["strange.png"]), "train", (0.7, 0.3), like=whole)
