"""Folds, batches in a fixed ratio, and folds that leak."""

import numpy as np
import pytest

from segkit import api
from segkit.cli.main import main
from segkit.data.concat import Concat
from segkit.data.files.pseudo_manifest import read_manifest
from segkit.data.samplers import Interleaved, Shuffle, batches
from segkit.data.semantic.folder import Folder
from segkit.data.semantic.pseudo_labels import PseudoLabels, leaks, trained_on
from segkit.data.semantic.shapes import Shapes
from segkit.data.splits.split import Fold
from segkit.files import DataError
from segkit.registry import ConfigError
from segkit.schema import check
from tests.self_training.made import in_rounds, pictures
from tests.tiny import sections

CLASSES = ["a", "b", "c"]


def shapes(length: int = 13, seed: int = 0) -> Shapes:
    return Shapes(length=length, size=(32, 32), seed=seed, instances=False)


def test_folds_are_disjoint_and_cover_everything():
    data = shapes()
    parts = [set(Fold(data, 4, k, only=True).ids) for k in range(4)]
    assert sorted(map(len, parts)) == [3, 3, 3, 4]
    assert sorted(name for part in parts for name in part) == sorted(data.ids)
    for k in range(4):
        rest = Fold(data, 4, k)
        assert set(rest.ids) == set(data.ids) - parts[k]
        assert list(rest.ids) == [name for name in data.ids if name not in parts[k]]  # in the order of the data


def test_a_fold_is_a_function_of_ids_and_seed():
    """numpy's permutation of seed 0 deals 13 images out; the order of the data set changes nothing."""
    data = shapes()
    names = {data.ids[i] for i in np.random.default_rng(0).permutation(13)[1::4]}
    assert set(Fold(data, 4, 1, only=True).ids) == names
    data.ids = data.ids[::-1]
    assert set(Fold(data, 4, 1, only=True).ids) == names
    assert set(Fold(data, 4, 1, only=True, seed=1).ids) != names


def test_a_fold_reads_the_items_of_the_whole():
    data = shapes()
    fold, rng = Fold(data, 4, 2, only=True), np.random.default_rng(0)
    for i, name in enumerate(fold.ids):
        j = data.ids.index(name)
        assert np.array_equal(fold.image(i), data.image(j)) and np.array_equal(fold.mask(i), data.mask(j))
        assert fold.path(i) == data.path(j) and fold.mask_path(i) == data.mask_path(j) and fold.has_mask(i)
        assert fold.sample(i, rng)["meta"]["id"] == name
    assert fold.classes == data.classes and fold.palette == data.palette


@pytest.mark.parametrize(
    "folds, fold, message",
    [(1, 0, "folds = 1: must lie between 2 and 13"), (14, 0, "between 2 and 13"), (4, 4, "the folds are 0 to 3")],
)
def test_folds_that_cannot_be(folds, fold, message):
    with pytest.raises(DataError, match=message):
        Fold(shapes(), folds, fold)


def test_interleaved_shows_each_part_as_its_own_sampler_would():
    joined = Concat([shapes(5), shapes(7, seed=1)])
    sampler, first, second = Interleaved(joined, 3, counts=(3, 1)), Shuffle(shapes(5), 3), Shuffle(shapes(7), 3)
    drawn = [sampler.index(position) for position in range(40)]
    labelled = [index for place, index in enumerate(drawn) if place % 4 < 3]
    pseudo = [index for place, index in enumerate(drawn) if place % 4 == 3]
    assert labelled == [first.index(position) for position in range(30)]
    assert pseudo == [5 + second.index(position) for position in range(10)]


def test_every_process_has_the_ratio_in_its_batches():
    sampler = Interleaved(Concat([shapes(5), shapes(7, seed=1)]), counts=(2, 2))
    for rank in range(2):
        stream = batches(sampler, 4, rank=rank, world_size=2)
        assert [[index >= 5 for _, index in next(stream)] for _ in range(3)] == [[False, False, True, True]] * 3


def test_interleaved_passes_on_the_point_to_crop_around(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path))
    rows = [dict(type="Shuffle"), dict(type="ClassUniform", fraction=1.0, tile=16)]
    sampler = Interleaved(Concat([shapes(5), shapes(7, seed=1)]), counts=(1, 1), samplers=rows)
    points = [sampler.focus(position) for position in range(8)]
    assert points[::2] == [None] * 4 and all(0 <= y < 32 and 0 <= x < 32 for y, x in points[1::2])


def test_interleaved_that_cannot_be():
    joined = Concat([shapes(5), shapes(7, seed=1)])
    with pytest.raises(ConfigError, match="Interleaved: Shapes has no parts"):
        Interleaved(shapes())
    with pytest.raises(ConfigError, match=r"Interleaved[.]counts: 3 for 2 data sets"):
        Interleaved(joined, counts=(1, 1, 1))
    with pytest.raises(ConfigError, match=r"Interleaved[.]samplers: 1 for 2 data sets"):
        Interleaved(joined, samplers=[dict(type="Shuffle")])


def test_samplers_inside_are_checked_before_anything_is_built():
    cfg = in_rounds()
    cfg["train"]["sampler"] = dict(type="Interleaved", samplers=[dict(type="ClassUniform", tiles=3)])
    with pytest.raises(ConfigError, match=r"train[.]sampler[.]samplers[.]0[.]tiles"):
        check(cfg)
    cfg["train"]["sampler"]["samplers"] = [dict(type="ClassUniform", tile=3)]
    check(cfg)


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """Images with masks, and a checkpoint for each of two folds, trained on all but its fold."""
    root = tmp_path_factory.mktemp("folds")
    images = pictures(root / "images", 6)
    for path in images.rglob("*.png"):
        from PIL import Image

        mask = root / "masks" / path.relative_to(images)
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.asarray(Image.open(path))[..., 0] % 3).astype(np.uint8)).save(mask)
    for fold in range(2):
        api.train(of_fold(root, fold), root / f"fold{fold}")
    return root


def of_fold(root, fold: int, **changes) -> dict:
    cfg = sections()
    data = dict(type="Fold", dataset=dict(type="Folder", root=str(root), classes=CLASSES), folds=2, fold=fold)
    cfg["model"] |= dict(num_classes=3, aux=[])
    cfg["losses"] = cfg["losses"][:1]
    cfg["train"]["dataset"], cfg["val"]["dataset"] = data, dict(data, only=True)
    cfg["loop"] |= dict(steps=2)
    return cfg | changes


def label(root, out, *words: str, folds: tuple[int, ...] = (0, 1)) -> int:
    files = [str(root / f"fold{fold}/last.pt") for fold in folds]
    return main(["pseudo", *files, str(root / "images"), "--out", str(out), "--trust", *words])


def test_unseen_images_are_labelled_by_the_models_that_held_them_out(folds, tmp_path):
    assert label(folds, tmp_path / "out", "--unseen") == 0
    whole = Folder(str(folds), CLASSES)
    held_out = [set(Fold(whole, 2, fold, only=True).ids) for fold in range(2)]
    for name, entry in read_manifest(tmp_path / "out").images.items():
        assert entry.makers == [fold for fold in range(2) if name in held_out[fold]]
    assert len(PseudoLabels(str(tmp_path / "out"), unseen=True)) == 6


def test_images_that_all_models_saw_are_refused(folds, tmp_path, capsys):
    assert label(folds, tmp_path / "out", "--unseen", folds=(0,)) == 2
    assert "folds that leak: all checkpoints were trained on 3 of 6 images" in capsys.readouterr().err
    assert not (tmp_path / "out/labels").exists()


def test_labels_by_models_that_saw_the_image_are_refused_where_unseen_is_demanded(folds, tmp_path):
    assert label(folds, tmp_path / "out") == 0
    with pytest.raises(DataError, match=r"folds that leak: image .* was labelled by a model that saw it: .*last[.]pt"):
        PseudoLabels(str(tmp_path / "out"), unseen=True)


def test_pseudo_labels_by_a_model_that_was_trained_on_val_are_refused(folds, tmp_path):
    """Fold 0 is scored: labels of the model of fold 1, which was trained on it, leak; those of fold 0 do not."""
    for maker, leaks_out in ((1, True), (0, False)):
        out = tmp_path / f"by{maker}"
        assert label(folds, out, folds=(maker,)) == 0
        cfg = of_fold(folds, 0)
        pseudo = dict(type="PseudoLabels", root=str(out))
        cfg["train"]["dataset"] = dict(type="Concat", datasets=[cfg["train"]["dataset"], pseudo])
        if leaks_out:
            with pytest.raises(ConfigError, match=r"folds that leak: 3 of 3 images of `val` .* were trained on by"):
                api.train(cfg, tmp_path / "run")
            assert not list((tmp_path / "run").rglob("*.pt"))
        else:
            api.train(cfg, tmp_path / "run")


def test_what_a_teacher_saw_counts_as_seen_by_its_student(folds, tmp_path):
    """The model of fold 1 saw fold 0; a set with its labels carries that on, whatever images it holds."""
    assert label(folds, tmp_path / "out", folds=(1,)) == 0
    whole = Folder(str(folds), CLASSES)
    own, other = Fold(whole, 2, 1, only=True), Fold(whole, 2, 0, only=True)
    pseudo = Fold(PseudoLabels(str(tmp_path / "out")), 2, 1, only=True)
    assert trained_on(own) & trained_on(other) == set()
    assert trained_on(other) <= trained_on(pseudo)
    assert "folds that leak" in leaks(pseudo, other)
    assert leaks(own, other) == ""


def test_a_checkpoint_whose_data_is_gone_is_said_and_not_unseen(folds, tmp_path, capsys):
    import shutil

    shutil.copytree(folds, tmp_path / "copy")
    cfg = of_fold(tmp_path / "copy", 0)
    path = api.train(cfg, tmp_path / "run").last_checkpoint
    shutil.rmtree(tmp_path / "copy")
    words = ["pseudo", str(path), str(folds / "images"), "--out", str(tmp_path / "out"), "--trust"]
    assert main([*words, "--unseen"]) == 2
    streams = capsys.readouterr()
    assert "which images it was trained on is not known" in streams.out
    assert "unseen: which images" in streams.err
    assert main(words) == 0
