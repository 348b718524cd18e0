"""BoxTeacher's parts by hand and against slow references: loss, average, runner, clean image, some outlines."""

import itertools
import json

import numpy as np
import pytest
import torch
from torch import nn

from segkit.api import build_runner
from segkit.archs.condinst import CondInstHead
from segkit.backbones.timm_detection import TimmDetection
from segkit.data.instances.coco import COCOInstances
from segkit.data.loader import TrainItems, collate_train
from segkit.data.transforms.boxes import BoxesOfMasks
from segkit.data.transforms.clean import KeepClean
from segkit.data.transforms.color import Blur, ColorJitter, Grayscale, jittered
from segkit.data.transforms.crops import RandomCrop
from segkit.data.transforms.sizes import Flip, Pad
from segkit.engine import checkpoint
from segkit.engine.hooks import Checkpoint
from segkit.engine.loop import Loop
from segkit.engine.optim import Ema
from segkit.files import DataError
from segkit.losses.instances.fcos import giou_loss
from segkit.losses.instances.noisy_masks import NoisyMasks
from segkit.ops.instances.color_affinity import NEIGHBOURS
from segkit.ops.instances.pseudo_masks import match_objects, pseudo_masks
from segkit.registry import ConfigError
from segkit.runners.instances.supervision import check_supervision
from segkit.schema import check
from segkit.types import Found
from tests.data.layouts import write_image
from tests.instances.test_box_runner import CONDINST, FCOS, batches, empty_batch, loop_of, sections


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# the loss


def slow_noisy_masks(logits, objects, masks, quality, boxes, valid, *, agreement: float | None) -> tuple[float, float]:
    """Both terms at full warm-up, pixel by pixel; masks of stride 1."""
    found = [(i, int(n)) for i, of_image in enumerate(objects) for n in of_image]
    dice_sum = affinity_sum = 0.0
    number = max(sum(float(quality[i][n]) > 0 for i, n in found), 1)
    height, width = logits.shape[1:]
    for m, (i, n) in enumerate(found):
        q = float(quality[i][n])
        x0, y0, x1, y1 = boxes[i][n].tolist()
        p = logits[m].sigmoid().double().numpy()
        in_box = np.array([[x0 <= x <= x1 and y0 <= y <= y1 for x in range(width)] for y in range(height)])
        t = masks[i][n].numpy() * in_box
        dice_sum += q * (1 - 2 * (p * t).sum() / ((p * p).sum() + (t * t).sum() + 1e-5))
        around = np.zeros((height, width))
        for y, x in itertools.product(range(height), range(width)):
            around[y, x] = sum(
                t[y + b, x + a]
                for b, a in itertools.product((-1, 0, 1), repeat=2)
                if 0 <= y + b < height and 0 <= x + a < width
            )
        u = (t + around / 9) / 2
        total = weights = 0.0
        for y, x in itertools.product(range(height), range(width)):
            for b, a in NEIGHBOURS:
                if not (in_box[y, x] and 0 <= y + b < height and 0 <= x + a < width and valid[i][y + b, x + a]):
                    continue
                same = u[y, x] * u[y + b, x + a] + (1 - u[y, x]) * (1 - u[y + b, x + a])
                weight = same if agreement is None else float(same >= agreement)
                pair = p[y, x] * p[y + b, x + a] + (1 - p[y, x]) * (1 - p[y + b, x + a])
                total, weights = total - weight * np.log(pair), weights + weight
        affinity_sum += q * total / max(weights, 1)
    return 0.5 * dice_sum / number, 0.1 * affinity_sum / number


@pytest.mark.parametrize("agreement", [0.5, None])
def test_noisy_masks_are_the_formula(agreement):
    generator = torch.Generator().manual_seed(0)
    logits = (2 * torch.randn(4, 12, 14, generator=generator)).requires_grad_()
    masks = [torch.rand(2, 12, 14, generator=generator) > 0.4, torch.rand(1, 12, 14, generator=generator) > 0.4]
    boxes = [torch.tensor([[1.0, 2.0, 9.0, 10.0], [4.0, 0.0, 13.0, 6.0]]), torch.tensor([[0.0, 0.0, 8.0, 8.0]])]
    quality, objects = [torch.tensor([0.8, 0.0]), torch.tensor([0.4])], [torch.tensor([1, 0, 0]), torch.tensor([0])]
    meta = [dict(size=(24, 28), valid=(12, 14)), dict(size=(10, 10), valid=(10, 10))]
    valid = [np.zeros((12, 14), bool) for _ in meta]
    valid[0][:11], valid[1][:8, :10] = True, True  # two rows of the file are one and two of the images
    loss = NoisyMasks(stride=1, bottom=2, warm_up=1, agreement=agreement)
    terms = loss(logits, objects, masks, quality, boxes, meta)
    mask, affinity = slow_noisy_masks(logits.detach(), objects, masks, quality, boxes, valid, agreement=agreement)
    assert float(terms["mask"].detach()) == pytest.approx(mask, rel=1e-5)
    assert float(terms["affinity"].detach()) == pytest.approx(affinity, rel=1e-5)
    (gradient,) = torch.autograd.grad(sum(terms.values()), logits)
    assert not gradient[0].any() and gradient[1:].flatten(1).any(1).all()  # object 1 has no quality


@pytest.mark.parametrize("counts", [(0, 0), (2, 0)])
def test_without_a_mask_of_quality_there_is_nothing_to_learn(counts):
    logits = torch.randn(sum(counts), 4, 4, requires_grad=True)
    objects = [torch.zeros(count, dtype=torch.int64) for count in counts]
    meta = [dict(size=(16, 16), valid=(16, 16))] * 2
    masks, boxes = [torch.ones(1, 16, 16, dtype=torch.bool)] * 2, [torch.tensor([[0.0, 0.0, 9.0, 9.0]])] * 2
    terms = NoisyMasks(means=0.1)(logits, objects, masks, [torch.zeros(1)] * 2, boxes, meta)
    sum(terms.values()).backward()
    assert set(terms) == {"mask", "affinity", "means"} and not any(terms.values()) and not logits.grad.any()


def test_one_more_in_both_areas_of_the_iou():
    found, true = torch.tensor([[1.0, 1.0, 1.0, 1.0]]), torch.tensor([[2.0, 1.0, 2.0, 1.0]])
    # areas 4 and 8, the first in the second
    assert float(giou_loss(found, true)) == pytest.approx(1 - 4 / 8)
    assert float(giou_loss(found, true, added=1.0)) == pytest.approx(1 - 5 / 9)
    apart = torch.tensor([[-3.0, 1.0, 5.0, 1.0]])  # from 3 to 5, beside the true box from -2 to 2
    shared = torch.minimum(apart, true)
    inter = float((shared[:, 0] + shared[:, 2]) * (shared[:, 1] + shared[:, 3]))
    union = 4 + 8 - inter
    expected = 1 - (inter + 1) / (union + 1) + (14 - union) / 14
    assert float(giou_loss(apart, true, added=1.0)) == pytest.approx(expected)


# labels of objects


def test_objects_take_the_best_instance_that_is_left():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8]])
    predicted = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    assert match_objects(torch.tensor([0.9, 0.8, 0.7]), predicted, boxes).tolist() == [0, 1]
    assert match_objects(torch.tensor([0.8, 0.9, 0.7]), predicted, boxes).tolist() == [1, 0]
    assert match_objects(torch.tensor([0.9, 0.8, 0.7]), predicted, boxes, iou=0.9).tolist() == [0, -1]
    assert match_objects(torch.tensor([0.9, 0.8, 0.7]), predicted, boxes, score=0.85).tolist() == [0, -1]
    masks = torch.rand(3, 4, 4) > 0.5
    found = Found(torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3), masks, predicted, torch.tensor([0.5, 0.6, 0.7]))
    chosen, quality = pseudo_masks(found, boxes, iou=0.9)
    assert torch.equal(chosen[0], masks[0]) and not chosen[1].any() and quality.tolist() == [0.5, 0.0]
    for empty in (found._replace(quality=None), found):
        if empty.quality is None:
            with pytest.raises(ValueError, match="rescore=True"):
                pseudo_masks(empty, boxes)
        else:
            assert pseudo_masks(empty, boxes[:0])[0].shape == (0, 4, 4)
    nothing = Found(*(part[:0] for part in found))
    assert pseudo_masks(nothing, boxes)[1].tolist() == [0, 0]


# averages


@pytest.mark.parametrize(
    ("rise", "decays"), [(10, (1 / 10, 2 / 11, 3 / 12)), (2, (1 / 2, 2 / 3, 0.7)), (1, (0.7,) * 3)]
)
def test_the_law_of_an_average(rise, decays):
    model = nn.BatchNorm1d(1)
    both, alone = Ema(model, 0.7, rise=rise), Ema(model, 0.7, rise=rise, buffers=False)
    expected, mean = 1.0, 0.0
    for step, decay in enumerate(decays):
        model.weight.data.fill_(step + 2.0)
        model.running_mean.fill_(step + 1.0)
        model.num_batches_tracked += 1
        expected, mean = decay * expected + (1 - decay) * (step + 2), decay * mean + (1 - decay) * (step + 1)
        for ema in (both, alone):
            ema.update(model, step)
            assert float(ema.module.weight) == pytest.approx(expected)
        assert float(both.module.running_mean) == pytest.approx(mean) and both.module.num_batches_tracked == step + 1
    assert not alone.module.running_mean.any() and not alone.module.num_batches_tracked


# the network's switches


def test_strides_stand_in_the_first_convolution():
    net = TimmDetection("resnet50", stride_in_first=True)
    assert net.encoder.layer2[0].conv1.stride == (2, 2) and net.encoder.layer2[0].conv2.stride == (1, 1)
    assert net.encoder.layer1[0].conv1.stride == net.encoder.layer2[1].conv1.stride == (1, 1)
    with pytest.raises(ConfigError, match="resnet18 has no bottlenecks"):
        TimmDetection("resnet18", stride_in_first=True)


@torch.no_grad()
def test_scores_by_the_product_and_ties_at_the_limit():
    """Two places of one map, class probabilities .04 and .36, centerness 1 and .25: products .04 and .09."""
    head = CondInstHead((4, 4, 4), 1, strides=(8, 16, 32), channels=4, groups=0, mask_channels=4, root_scores=True)
    scores, _, index = head._candidates(torch.tensor([[0.04], [0.36]]), torch.tensor([[1.0], [0.25]]), [2])
    assert index.tolist() == [1] and scores.tolist() == pytest.approx([0.3])
    plain = CondInstHead((4, 4, 4), 1, strides=(8, 16, 32), channels=4, groups=0, mask_channels=4, limit=2)
    scores, _, index = plain._candidates(torch.tensor([[0.04], [0.36]]), torch.tensor([[1.0], [0.25]]), [2])
    assert index.tolist() == [1] and scores.tolist() == pytest.approx([0.09])
    kept, values = torch.tensor([2, 0, 1, 3]), torch.tensor([0.5, 0.5, 0.9, 0.1])
    assert plain._best(kept, values).tolist() == [2, 0]
    plain.keep_ties = True
    assert plain._best(kept, values).tolist() == [2, 0, 1]


# the clean image and colors


def test_the_clean_image_moves_with_the_image_and_keeps_its_colors():
    image = rng().integers(0, 256, (20, 30, 3)).astype(np.uint8)
    sample = dict(image=image, meta=dict(id="a", path="a.png", size=(20, 30)))
    changed = KeepClean()(sample, rng())
    for transform in (Grayscale(1.0), Flip(1.0), RandomCrop((16, 24)), Pad(divisor=32, fill=9)):
        changed = transform(changed, rng(1))
    plain = sample
    for transform in (Flip(1.0), RandomCrop((16, 24)), Pad(divisor=32, fill=9)):
        plain = transform(plain, rng(1))
    np.testing.assert_array_equal(changed["clean"], plain["image"])
    assert (changed["clean"] != changed["image"]).any() and "clean" not in sample
    batch = collate_train([changed, changed])
    assert torch.equal(batch["clean"][1].permute(1, 2, 0), torch.from_numpy(plain["image"].copy()))


def test_color_jitter_by_hand():
    image = np.array([[[200, 100, 50], [40, 80, 120]]], np.uint8)
    grey = image @ np.array([0.299, 0.587, 0.114])
    order = np.arange(4)
    np.testing.assert_array_equal(jittered(image, [0.5, 1, 1], 0.0, order), [[[100, 50, 25], [20, 40, 60]]])
    expected = np.clip(grey.mean() + 1.2 * (image - grey.mean()), 0, 255)
    np.testing.assert_allclose(jittered(image, [1, 1.2, 1], 0.0, order), expected, atol=1)
    expected = np.clip(grey[..., None] + 1.3 * (image - grey[..., None]), 0, 255)
    np.testing.assert_allclose(jittered(image, [1, 1, 1.3], 0.0, order), expected, atol=1)
    # a third of the circle turns red into green
    turned = jittered(np.array([[[255, 0, 0]]], np.uint8), [1, 1, 1], 120.0, order)
    np.testing.assert_allclose(turned, [[[0, 255, 0]]], atol=1)
    sample = dict(image=image, meta=dict(id="a", path="a.png", size=(1, 2)))
    assert ColorJitter(p=0.0)(sample, rng()) is sample
    assert ColorJitter(0, 0, 0, 0, p=1.0)(sample, rng())["image"].tolist() == image.tolist()


def test_a_blur_of_three_pixels():
    image = np.zeros((9, 9, 1), np.float32)
    image[4, 4] = 255
    blurred = Blur(5.0, 5.0, p=1.0, kernel=3)(dict(image=image, meta=dict(id="a", path="a", size=(9, 9))), rng())[
        "image"
    ]
    assert (blurred[3:6, 3:6] > 0).all() and not np.delete(blurred, (3, 4, 5), 0).any()
    with pytest.raises(ConfigError, match=r"Blur.kernel = 4: must be an odd number"):
        Blur(kernel=4)


# the runner


def teacher_sections(**loop) -> dict:
    cfg = sections("BoxInst", **loop)
    cfg["runner"] = dict(type="BoxTeacher", short=64, long=100, divisor=16, growth=0)
    cfg["model"]["head"] = CONDINST | dict(rescore=True, root_scores=True, keep_ties=True, limit=20)
    box_inst = dict(type="BoxInst", stride=2, target=["clean", "boxes", "meta"])
    cfg["losses"] = [FCOS, box_inst, dict(type="NoisyMasks", stride=2, warm_up=2)]
    cfg["train"]["transforms"] = [dict(type="KeepClean"), dict(type="ColorJitter")]
    cfg["loop"] |= dict(ema=0.9, ema_rise=2, ema_buffers=False)
    check(cfg)
    return cfg


def test_a_run_learns_and_goes_on_equally_after_a_break(tmp_path):
    def begun(folder, steps: int) -> Loop:
        loop = loop_of(teacher_sections(), folder, hooks=(Checkpoint(),))
        loop.val, loop.total_steps = None, steps
        return loop

    whole, half, again = begun(tmp_path / "whole", 4), begun(tmp_path / "half", 2), begun(tmp_path / "half", 4)
    whole.fit()
    assert whole.eval_model is whole.ema.module and not whole.ema.module.training
    student, teacher = whole.raw_model.state_dict(), whole.ema.module.state_dict()
    norms = [name for name in teacher if name.startswith("head.masks") and name.endswith("running_mean")]
    # moved by the teacher's own forward alone
    assert norms and all((teacher[name] != student[name]).any() and teacher[name].any() for name in norms)
    half.fit()
    again.load_state_dict(checkpoint.read(tmp_path / "half" / "last.pt"), "last.pt")
    assert again.step == 2
    again.fit()
    for state, other in ((teacher, again.ema.module.state_dict()), (student, again.raw_model.state_dict())):
        assert all(torch.equal(value, other[name]) for name, value in state.items())


def test_the_teacher_gives_masks_of_the_clean_image(tmp_path):
    loop = loop_of(teacher_sections(), tmp_path)
    one, _ = batches(loop)
    seen = []
    network = loop.runner._teacher.module
    network.register_forward_pre_hook(lambda _, args: seen.append((args[0].clone(), network.training)))
    batch = dict(one)
    loop.runner.forward(loop.model, batch, rng())
    ((image, training),) = seen
    assert training and not network.training
    torch.testing.assert_close(image, one["clean"].float())
    assert [mask.dtype for mask in batch["masks"]] == [torch.bool] * 2
    assert [mask.shape for mask in batch["masks"]] == [(len(boxes), 64, 64) for boxes in batch["boxes"]]
    for mask, quality in zip(batch["masks"], batch["mask_quality"]):
        assert (mask.flatten(1).any(1) | (quality == 0)).all() and quality.min() >= 0
    nothing = empty_batch()
    terms = loop.train_step([nothing])
    assert all(torch.isfinite(value) for value in terms.values())


def test_images_are_resized_as_for_a_test(tmp_path):
    runner = build_runner(teacher_sections())
    metas = [dict(id="a", path="a", size=(9, 9), valid=(32, 48)), dict(id="b", path="b", size=(9, 9), valid=(16, 64))]
    clean = torch.zeros(2, 3, 32, 64)
    clean[0, :, :, :48], clean[1, :, :16] = 10, 20
    image, seen = runner.resized(clean, metas)
    # the short side to 64, but the long one at most 100: 25 x 100 of 16 x 64
    assert [(meta["size"], meta["valid"]) for meta in seen] == [((32, 48), (64, 96)), ((16, 64), (25, 100))]
    assert image.shape == (2, 3, 64, 100)
    assert (image[0, :, :, :96] - 10).abs().max() < 1e-4 and not image[0, :, :, 96:].any()
    assert (image[1, :, :25] - 20).abs().max() < 1e-4 and not image[1, :, 25:].any()


def test_what_a_teacher_needs_is_said(tmp_path):
    cfg = teacher_sections()
    cfg["loop"]["ema"] = 0.0
    with pytest.raises(ConfigError, match=r"set loop.ema=0.999, loop.ema_rise=2, loop.ema_buffers=False"):
        loop_of(cfg, tmp_path)
    cfg = teacher_sections()
    cfg["model"]["head"]["rescore"] = False
    loop = loop_of(cfg, tmp_path)
    with pytest.raises(ConfigError, match=r"model.head.rescore=True"):
        loop.train_step([batches(loop)[0]])


# outlines for some objects


@pytest.fixture
def mixed(tmp_path):
    """Image 1 with an outline, an object without, one of half quality, and a crowd; image 2 without an outline."""
    square = [[2.0, 2.0, 12.0, 2.0, 12.0, 12.0, 2.0, 12.0]]
    rows = [
        dict(id=1, image_id=1, bbox=[2, 2, 20, 20], segmentation=square),
        dict(id=2, image_id=1, bbox=[30, 10, 10, 20]),
        dict(id=3, image_id=1, bbox=[2, 2, 10, 10], segmentation=square, mask_quality=0.5),
        dict(id=4, image_id=1, bbox=[0, 0, 48, 10], segmentation=dict(size=[40, 48], counts=[0, 1920]), iscrowd=1),
        dict(id=5, image_id=2, bbox=[5, 5, 10, 10], segmentation=None, mask_quality=0.9),
    ]
    content = dict(
        images=[dict(id=i, file_name=f"{i}.png", height=40, width=48) for i in (1, 2)],
        categories=[dict(id=7, name="cat")],
        annotations=[dict(category_id=7, area=row["bbox"][2] * row["bbox"][3], iscrowd=0) | row for row in rows],
    )
    for i in (1, 2):
        write_image(tmp_path / "images" / f"{i}.png", (40, 48))
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    return path


def of_file(path, **others) -> COCOInstances:
    return COCOInstances(annotations=str(path), images=str(path.parent / "images"), filtered=True, **others)


def test_an_object_without_an_outline_beside_objects_with_one(mixed):
    dataset = of_file(mixed, boxes_only="mixed")
    items = TrainItems(dataset, [Flip(1.0), BoxesOfMasks()], 0)
    one, two = items[0, 0], items[1, 1]
    assert one["mask_quality"].tolist() == [1, 0, 0.5] and two["mask_quality"].tolist() == [0]
    masks = np.asarray(one["masks"])
    assert masks.shape == (3, 40, 48)
    filled = np.zeros((40, 48), bool)
    filled[10:31, 7:18] = True  # 30..40 and 10..30, both ends in, mirrored
    np.testing.assert_array_equal(masks[1] > 0, filled)
    batch = collate_train([one, two])
    assert [quality.tolist() for quality in batch["mask_quality"]] == [[1, 0, 0.5], [0]]
    assert batch["mask_quality"][0].dtype == torch.float32


def test_objects_that_leave_the_image_take_their_quality_along(mixed):
    sample = of_file(mixed, boxes_only="mixed").sample(0, rng())
    left = RandomCrop((40, 20))(sample, np.random.default_rng(3))
    assert len(left["mask_quality"]) == len(left["boxes"]) < 3
    kept = [list(map(float, label)) for label in zip(left["mask_quality"])]
    assert all(row in ([1.0], [0.0], [0.5]) for row in kept)


def test_outlines_are_asked_for_where_all_must_have_one(mixed):
    with pytest.raises(DataError, match="boxes_only='mixed'"):
        of_file(mixed, boxes_only=False).sample(0, rng())
    content = json.loads(mixed.read_text())
    content["annotations"][2]["mask_quality"] = 1.5
    mixed.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"annotation 3: mask_quality 1.5 must be a number from 0 to 1"):
        of_file(mixed, boxes_only="mixed")


@pytest.mark.parametrize("loss", ["CondInstMasks", "BoxLevelSet"])
def test_what_learns_from_all_masks_alike_refuses_boxes_among_them(loss):
    cfg = dict(
        train=dict(dataset=dict(type="COCOInstances", boxes_only="mixed")),
        losses=[dict(type="FCOS"), dict(type="NoisyMasks"), dict(type=loss)],
    )
    with pytest.raises(ConfigError, match=f"losses.2.type = '{loss}' learns from all masks alike"):
        check_supervision(cfg)
    check_supervision(cfg | dict(losses=cfg["losses"][:2]))
