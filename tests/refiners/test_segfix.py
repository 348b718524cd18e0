"""SegFix: targets and their way through transforms, the loss where nothing counts, offsets, shifts, and a training."""

import math
import os

import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.ndimage import distance_transform_edt

from segkit.cli.main import main
from segkit.data.dataset import Dataset
from segkit.data.prepare.segfix import boundary_targets, prepare_segfix
from segkit.data.semantic.segfix import SegFixTargets
from segkit.data.transforms.operations import crop, flip, pad, resize, transpose
from segkit.engine import checkpoint
from segkit.files import DataError
from segkit.losses.segfix import SegFixLoss
from segkit.ops.edges import DIRECTIONS, direction_classes, direction_offsets, shifted
from segkit.refiners.segfix import SegFix
from segkit.registry import REFINERS, ConfigError, build, build_model
from segkit.types import Meta, Sample

MODEL = dict(
    num_classes=2, backbone=dict(type="PlainEncoder", channels=(16, 32)), head=dict(type="SegFixHead", channels=32)
)
RNG = np.random.default_rng(0)


class Discs(Dataset):
    """Bright discs on dark ground, 48x64 pixels times `factor`."""

    classes, palette, folder = ("ground", "disc"), ((0, 0, 0), (255, 0, 0)), "discs"

    def __init__(self, length: int = 3, factor: int = 1):
        self.ids, self.factor = [f"part/{i}" for i in range(length)], factor

    def mask(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        y, x = np.mgrid[: 48 * self.factor, : 64 * self.factor] / self.factor
        center = rng.integers(18, 30), rng.integers(20, 44)
        return (np.hypot(y - center[0], x - center[1]) < rng.integers(12, 17)).astype(np.uint8)

    def image(self, index: int) -> np.ndarray:
        noise = np.random.default_rng(index).normal(0, 12, (*self.mask(index).shape, 3))
        return np.clip(60 + 120 * self.mask(index)[..., None] + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def prepared(tmp_path) -> SegFixTargets:
    prepare_segfix(Discs(), tmp_path)
    return SegFixTargets(Discs(), str(tmp_path))


# targets ------------------------------------------------------------------------------------------------------------


def test_depth_is_the_floor_of_the_distance_to_another_class():
    labels = np.zeros((40, 60), np.uint8)
    labels[8:30, 20:45] = 1
    labels[35:, :4] = 255
    depth, angle = boundary_targets(labels, ignore=255)
    for value in (0, 1):
        inside = labels == value
        assert np.array_equal(depth[inside], np.floor(distance_transform_edt(inside)[inside]))
    assert not depth[labels == 255].any() and (angle[labels == 255] == 90).all()
    # the interior of the rectangle lies to the right of its left side, and below its upper side
    degrees = [int(angle[pixel]) * 2 - 180 for pixel in ((19, 20), (8, 32), (29, 32), (19, 44))]
    assert degrees[:3] == [0, 90, -90] and abs(degrees[3]) == 180


def test_small_classes_have_no_depth_and_great_ones_are_cut_off():
    labels = np.zeros((12, 600), np.uint8)
    labels[:, 299:301] = 1  # 24 pixels
    depth, angle = boundary_targets(labels, ignore=255)
    assert not depth[:, 299:301].any() and (angle[:, 299:301] == 90).all()
    assert depth[0, 0] == 250 and depth[0, 298] == 1
    labels[:9, 299:309] = 1  # 90, and 6 of the rows below: below 100
    assert not boundary_targets(labels, ignore=255)[0][labels == 1].any()
    labels[9, 301:305] = 1
    assert boundary_targets(labels, ignore=255)[0][labels == 1].all()


def test_boundary_ends_below_six_pixels(prepared):
    distance = distance_transform_edt(Discs().mask(0)) + distance_transform_edt(Discs().mask(0) == 0)
    assert np.array_equal(prepared.mask(0), (distance < 6).astype(np.uint8))


def test_a_target_is_kept_and_one_older_than_its_mask_is_made_again(tmp_path, monkeypatch):
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"")
    monkeypatch.setattr(Discs, "mask_path", lambda self, index: str(mask))
    assert prepare_segfix(Discs(), tmp_path / "out") == (3, 0)
    assert prepare_segfix(Discs(4), tmp_path / "out") == (1, 3)
    os.utime(mask, (4e9, 4e9))
    assert prepare_segfix(Discs(4), tmp_path / "out") == (4, 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["part"]


def test_missing_and_other_targets_are_refused(tmp_path, prepared):
    with pytest.raises(DataError, match=r"part/3\.mat: 1 of 4 files .* segkit prepare segfix --config"):
        SegFixTargets(Discs(4), str(tmp_path))
    small = {"depth": np.zeros((9, 9), np.uint8), "dir_deg": np.zeros((9, 9), np.uint8), "deg_reduce": 2}
    savemat(tmp_path / "part/1.mat", small)
    with pytest.raises(DataError, match=r"part/1\.mat: targets of 9x9 pixels for a mask of 64x48"):
        prepared.mask(1)
    (tmp_path / "part/1.mat").write_bytes(b"no mat")
    with pytest.raises(DataError, match=r"part/1\.mat: cannot be read"):
        prepared.sample(1, RNG)


def test_command_makes_the_targets_of_a_config(tmp_path, monkeypatch, capsys):
    config = tmp_path / "config.py"
    row = "dict(type='SegFixTargets', targets=ref('targets'), dataset=dict(type='Shapes', size=(32, 32), length=2))"
    config.write_text(
        f"from segkit.config import ref\ntargets = None\nmodel = {MODEL!r}\ntrain = dict(dataset={row}, batch_size=1)\n"
        f"val = dict(dataset={row})\n"
    )
    command = ["prepare", "segfix", "--config", str(config), "--jobs", "1", "--cfg-options", f"targets={tmp_path}/out"]
    assert main(command) == 0
    assert "train.dataset: 2 files written, 0 kept" in capsys.readouterr().out
    assert main(["prepare", "segfix"]) == 2
    assert "give --config" in capsys.readouterr().err
    assert main(["prepare", "voc_instances", "--config", str(config)]) == 2
    assert "reads no config" in capsys.readouterr().err


# directions in transforms -------------------------------------------------------------------------------------------


def made(angle: list[list[float]]) -> Sample:
    values = np.array(angle, np.float32)
    image = np.zeros((*values.shape, 3), np.uint8)
    size = (values.shape[0], values.shape[1])
    return Sample(image=image, angle=values, meta=Meta(id="made", path="made", size=size))


def test_a_mirrored_direction_has_its_x_turned():
    mirrored = flip(made([[0, 90, 180], [-90, 46, -134]]), horizontal=True, vertical=False)["angle"]
    assert np.abs(mirrored[0]).tolist() == [0, 90, 180]
    assert mirrored[1].tolist() == [-46, 134, -90]
    upside_down = flip(made([[0, 90], [46, -134]]), horizontal=False, vertical=True)["angle"]
    assert upside_down.tolist() == [[-46, 134], [0, -90]]


def test_other_changes_of_the_image():
    assert transpose(made([[0, 90], [46, -134]]))["angle"].tolist() == [[90, 44], [0, -136]]
    assert crop(made([[0, 90], [46, -134]]), 0, 1, (2, 1))["angle"].tolist() == [[90], [-134]]
    assert pad(made([[46]]), (1, 2))["angle"].tolist() == [[46, 0]]
    assert resize(made([[46]]), (2, 2))["angle"].tolist() == [[46, 46], [46, 46]]
    assert resize(made([[45, 45]]), (1, 1))["angle"][0, 0] == pytest.approx(math.degrees(math.atan2(1, 0.5)), abs=1e-3)


def test_a_mirrored_item_is_the_item_of_the_mirrored_mask(prepared):
    """But for the pixels between two directions, of which rounding down to two degrees makes one or the other."""
    item = prepared.sample(0, RNG)
    mirrored = flip(item, horizontal=True, vertical=False)
    depth, angle = boundary_targets(np.ascontiguousarray(Discs().mask(0)[:, ::-1]), ignore=255)
    assert np.array_equal(mirrored["mask"], depth <= 5)
    found = direction_classes(torch.from_numpy(mirrored["angle"]), 8)
    wanted = direction_classes(torch.from_numpy(angle.astype(np.float32) * 2 - 180), 8)
    assert (found != wanted).float().mean() < 0.04
    unturned = direction_classes(torch.from_numpy(np.ascontiguousarray(item["angle"][:, ::-1])), 8)
    assert (unturned != wanted).float().mean() > 0.5


# loss ---------------------------------------------------------------------------------------------------------------


def test_loss_is_zero_where_nothing_counts():
    maps = torch.zeros(1, 2, 2, 2), torch.zeros(1, 8, 2, 2)
    target, angle = torch.tensor([[[0, 1], [1, 255]]]), torch.zeros(1, 2, 2)
    maps[0][:, 0] = 1.0  # no boundary is predicted
    logits, direction = (x.requires_grad_() for x in maps)
    terms = SegFixLoss()(logits, direction, target, angle)
    # weights 2/3 (interior, 1 of 3) and 1/3 (boundary, 2 of 3)
    good, bad = math.log(1 + math.exp(-1)), math.log(1 + math.e)
    assert terms["boundary"].item() == pytest.approx((good * 2 / 3 + 2 * bad / 3) / (4 / 3), rel=1e-6)
    assert terms["direction"].item() == 0
    sum(terms.values()).backward()
    assert torch.isfinite(logits.grad).all() and not direction.grad.any()
    nothing = SegFixLoss()(logits, direction, torch.full_like(target, 255), angle)
    assert [float(value.detach()) for value in nothing.values()] == [0, 0]


def test_loss_refuses_another_network():
    with pytest.raises(ConfigError, match=r"outputs of 11 and 8 channels"):
        SegFixLoss()(torch.zeros(1, 11, 2, 2), torch.zeros(1, 8, 2, 2), torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))


# offsets and shifts -------------------------------------------------------------------------------------------------


def test_offsets_are_whole_steps_along_both_axes():
    directions = torch.tensor([[[0, 1, 2, 3]]])
    steps = direction_offsets(directions, torch.tensor([[[True, True, True, False]]]), 8)
    assert steps[0, :, 0].T.tolist() == [[0, -1], [-1, -1], [-1, 0], [0, 0]]
    assert [len(DIRECTIONS[number]) for number in (4, 8, 16, 32)] == [4, 8, 16, 32]


def test_shift_takes_the_value_at_the_offset_and_ends_at_the_border():
    maps = torch.arange(6.0).view(1, 1, 2, 3)
    offsets = torch.zeros(1, 2, 2, 3, dtype=torch.int64)
    assert torch.equal(shifted(maps, offsets), maps)
    offsets[0, :, 0, 0] = torch.tensor([1, 2])
    offsets[0, :, 1, 2] = torch.tensor([5, 5])
    offsets[0, :, 0, 1] = torch.tensor([-3, -1])
    assert shifted(maps, offsets)[0, 0].tolist() == [[5, 0, 2], [3, 4, 5]]


def test_files_of_offsets(tmp_path):
    offsets = np.zeros((2, 3, 2), np.int64)
    offsets[0, 0] = (0, 1)
    savemat(tmp_path / "street.mat", {"mat": offsets})
    refiner = SegFix(offsets=str(tmp_path))
    image, coarse = torch.zeros(1, 3, 2, 3), torch.arange(6.0).view(1, 1, 2, 3) / 6
    refiner.begin([Meta(id="a/street", path="x/street.png")])
    assert (refiner.refine(image, coarse)[0, 0] * 6).round().tolist() == [[2, 1, 2], [3, 4, 5]]
    still = SegFix(offsets=str(tmp_path), scale=0)
    still.begin([Meta(id="a/street", path="x/street.png")])
    assert torch.equal(still.refine(image, coarse), coarse)
    for content, match in (
        ({"mat": offsets[:1]}, "offsets for 3x1 pixels, and the image has 3x2"),
        ({"mat": offsets + 0.5}, "no whole numbers"),
        ({"mat": offsets[..., 0]}, r"must be offsets \[H,W,2\]"),
        ({"other": offsets}, "cannot be read"),
    ):
        savemat(tmp_path / "street.mat", content)
        with pytest.raises(DataError, match=rf"street\.mat: .*{match}"):
            refiner.refine(image, coarse)
    refiner.begin([Meta(id="other", path="x/other.png")])
    with pytest.raises(DataError, match=r"other\.mat"):
        refiner.refine(image, coarse)
    refiner.begin([])
    with pytest.raises(DataError, match="names of the images are unknown"):
        refiner.refine(image, coarse)


def test_arguments_of_the_refiner(tmp_path):
    for arguments in ({}, {"checkpoint": "a.pt", "offsets": "b"}):
        with pytest.raises(
            ConfigError, match=r"inference\.refiners\.0: SegFix cannot be built: give either checkpoint"
        ):
            build(dict(type="SegFix", **arguments), REFINERS, "inference.refiners.0")
    with pytest.raises(DataError, match="no such folder"):
        SegFix(offsets=str(tmp_path / "none"))
    other = dict(MODEL, head=dict(type="FCNHead", channels=4))
    path = tmp_path / "other.pt"
    checkpoint.save(path, dict(model=build_model(other).state_dict(), config={"model": other}))
    with pytest.raises(
        DataError, match=r"other\.pt: holds a network of type Segmentor with the head FCNHead; .*SegFix"
    ):
        SegFix(str(path))


# a perfect mask stays, one moved by a pixel gets better ---------------------------------------------------------------


def iou(labels: np.ndarray, truth: np.ndarray) -> float:
    return float((labels & truth).sum() / (labels | truth).sum())


def scores_of(refiner: SegFix, data: Discs, indices: range) -> tuple[list[float], list[float], list[float]]:
    """IoU of perfect masks after refinement, and of moved ones before and after it."""
    kept, before, after = [], [], []
    for index in indices:
        truth = data.mask(index) == 1
        moved = np.roll(truth, (1, 1), (0, 1))
        before.append(iou(moved, truth))
        refiner.begin([Meta(id=data.ids[index], path=data.ids[index])])
        image = torch.from_numpy(data.image(index)).permute(2, 0, 1)[None].float()
        for labels, scores in ((truth, kept), (moved, after)):
            coarse = torch.from_numpy(np.stack([~labels, labels])).float()[None]
            scores.append(iou(refiner.refine(image, coarse).argmax(1)[0].numpy() == 1, truth))
    return kept, before, after


def test_true_offsets(tmp_path):
    data = Discs(6)
    for index, name in enumerate(data.ids):
        depth, angle = boundary_targets(data.mask(index), ignore=255)
        classes = direction_classes(torch.from_numpy(angle.astype(np.float32) * 2 - 180), 8)
        steps = direction_offsets(classes[None], torch.from_numpy(depth <= 5)[None], 8)[0]
        savemat(tmp_path / f"{name.rpartition('/')[2]}.mat", {"mat": steps.permute(1, 2, 0).numpy()})
    kept, before, after = scores_of(SegFix(offsets=str(tmp_path)), data, range(6))
    assert kept == [1.0] * 6
    assert min(np.array(after) - before) > 0.05 and min(after) > 0.98


@pytest.mark.slow
def test_brief_training(tmp_path):
    torch.manual_seed(0)
    data = Discs(40, factor=2)
    prepare_segfix(data, tmp_path)
    items = [SegFixTargets(data, str(tmp_path)).sample(i, RNG) for i in range(32)]
    image = torch.from_numpy(np.stack([item["image"] for item in items])).permute(0, 3, 1, 2)
    target = torch.from_numpy(np.stack([item["mask"] for item in items])).long()
    angle = torch.from_numpy(np.stack([item["angle"] for item in items]))
    model = {**MODEL, "align_corners": True}
    network = build_model(model)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, 350)
    for _ in range(350):
        chosen = torch.randperm(32)[:3]
        outputs = network.train()(image[chosen])
        loss = sum(SegFixLoss()(outputs["logits"], outputs["direction"], target[chosen], angle[chosen]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    path = tmp_path / "segfix.pt"
    checkpoint.save(path, dict(model=network.state_dict(), config={"model": model}))
    kept, before, after = scores_of(SegFix(str(path)).eval(), data, range(32, 40))
    assert np.mean(kept) > 0.99, kept
    assert np.mean(after) > np.mean(before) + 0.02, (before, after)
