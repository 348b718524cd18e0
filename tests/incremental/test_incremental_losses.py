"""Losses of incremental learning against MiB's published code: values and gradients in float64 to 1e-9.

tests/fixtures/mib/losses.npz: inputs and results by loss, case and option; of most gradients every second row and third
column. The width of the teacher's logits tells the number of old classes.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segkit.criterion import build_criterion
from segkit.losses.binary_cross_entropy import BinaryCrossEntropy
from segkit.losses.incremental.icarl import ICaRLDisjoint, ICaRLDistillation
from segkit.losses.incremental.incremental_kd import FeatureMSE, OldClassKD
from segkit.losses.incremental.plop import LocalPOD
from segkit.losses.incremental.unbiased import UnbiasedCE, UnbiasedKD

with np.load(Path(__file__).parents[1] / "fixtures/mib/losses.npz") as arrays:
    PUBLISHED = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
OLD = {"voc15-5": 16, "voc19-1": 20, "voc15-1s3": 18, "voc10-1s1": 11, "ade100-50": 101, "tiny1-1": 1, "big_logits": 16}
CE_CASES = sorted(name.split("/")[1] for name in PUBLISHED if name.startswith("ce/") and name.endswith("/target"))
KD_OPTIONS = sorted(name.rpartition("/")[0] for name in PUBLISHED if name[:2] in ("uk", "kd") and "/value" in name[-6:])
DISTILLATIONS = {"ukd": UnbiasedKD, "kd": OldClassKD}


def gradient_of(value: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), logits)[0]


def check(name: str, ours: Tensor, rtol: float = 1e-9) -> None:
    """Compares with a stored result where there is one; a gradient stored in part, in that part."""
    if name in PUBLISHED:
        stored = PUBLISHED[name]
        ours = ours if ours.shape == stored.shape else ours[..., ::2, ::3]
        torch.testing.assert_close(ours, stored, rtol=rtol, atol=rtol * 1e-3)


def wide(case: str) -> Tensor:
    """A teacher's logits, of which only the width counts."""
    return torch.zeros(1, OLD[case], 1, 1)


@pytest.mark.parametrize("case", CE_CASES)
def test_unbiased_cross_entropy_is_the_published_one(case):
    logits, target = PUBLISHED[f"ce/{case}/logits"].requires_grad_(), PUBLISHED[f"ce/{case}/target"]
    valid = int((target != 255).sum())
    every, mean = UnbiasedCE()(logits, wide(case), target), UnbiasedCE("valid")(logits, wide(case), target)
    pixels = UnbiasedCE().pixels(logits, wide(case), target)
    check(f"ce/{case}/value_trainer", every)
    check(f"ce/{case}/value_mean", mean)
    check(f"ce/{case}/value_none", pixels)
    check(f"ce/{case}/value_sum", pixels.sum())
    check(f"ce/{case}/grad_none_then_mean", gradient_of(every, logits))
    check(f"ce/{case}/grad_mean", gradient_of(mean, logits))
    check(f"ce/{case}/grad_sum", gradient_of(pixels, logits))
    torch.testing.assert_close(every * target.numel(), mean * valid)


def test_unbiased_cross_entropy_of_an_ignored_crop_is_0():
    """The authors' mean over valid pixels is NaN there."""
    logits = PUBLISHED["ce/all_ignored/logits"].requires_grad_()
    target = torch.full((1, 2, 2), 255)
    for average in ("all", "valid"):
        value = UnbiasedCE(average)(logits, wide("voc15-5"), target)
        assert value == 0 and not gradient_of(value, logits).any()


@pytest.mark.parametrize("option", KD_OPTIONS)
def test_distillation_is_the_published_one(option):
    """alphaA_[no]mask_REDUCTION: a masked pixel counts in the mean."""
    kind, case, setting = option.split("/")
    alpha, masking, reduction = setting.split("_")
    new, old, mask = (PUBLISHED[f"kd/{case}/{name}"] for name in ("logits_new", "logits_old", "mask"))
    new = new.clone().requires_grad_()
    loss = DISTILLATIONS[kind](float(alpha.removeprefix("alpha")))
    is_masked = masking == "mask"
    pixels = loss.pixels(new, old) * (mask if is_masked else 1)
    value = {"none": pixels, "sum": pixels.sum(), "mean": loss(new, old, None, mask if is_masked else None)}[reduction]
    check(f"{option}/value", value)
    check(f"{option}/grad", gradient_of(value, new))
    if is_masked and reduction == "mean":
        torch.testing.assert_close(loss(new, old, torch.where(mask > 0, 3, 255)), value)


@pytest.mark.parametrize("kind", ["ukd", "kd"])
def test_mean_over_valid_pixels_leaves_the_masked_ones_out(kind):
    new, old, mask = (PUBLISHED[f"kd/voc15-5/{name}"] for name in ("logits_new", "logits_old", "mask"))
    target = torch.where(mask > 0, 0, 255)
    value = DISTILLATIONS[kind](average="valid")(new, old, target)
    torch.testing.assert_close(value, DISTILLATIONS[kind]().pixels(new, old)[mask > 0].mean())


def test_bce_is_the_published_one():
    """The class loss of LwF-MC, in the reductions of the authors, whose float32 targets round the result: 1e-6."""
    logits, target = PUBLISHED["bce/logits"].clone().requires_grad_(), PUBLISHED["bce/target"]
    pixels, _ = BinaryCrossEntropy(sum_classes=True).pixels(logits, target)
    check("bce/ignore_none/value", pixels, rtol=1e-6)
    check("bce/ignore_sum/value", pixels.sum(), rtol=1e-6)
    check("bce/ignore_sum/grad", gradient_of(pixels, logits), rtol=1e-6)
    for average, name in (("all", "none"), ("valid", "mean")):
        value = BinaryCrossEntropy(sum_classes=True, average=average)(logits, target)
        check(f"bce/ignore_{name}/grad", gradient_of(value, logits), rtol=1e-6)
        if average == "valid":
            check("bce/ignore_mean/value", value, rtol=1e-6)


@pytest.mark.parametrize("background", [0, 1])
def test_icarl_with_one_cross_entropy_is_the_published_one(background):
    """The reference rounds the teacher's sigmoids to float32: 1e-6."""
    logits, target = PUBLISHED["bce/logits"].clone().requires_grad_(), PUBLISHED["bce/target"]
    value = ICaRLDisjoint(bool(background))(logits, PUBLISHED["bce/logits_old"], target)
    check(f"bce/icarl_disjoint_bkg{background}/value", value, rtol=1e-6)
    check(f"bce/icarl_disjoint_bkg{background}/grad", gradient_of(value, logits), rtol=1e-6)


def test_icarl_beside_a_cross_entropy_is_the_published_one():
    logits = PUBLISHED["bce/logits"].clone().requires_grad_()
    value = 10 * ICaRLDistillation()(logits, PUBLISHED["bce/logits_old"])
    check("bce/icarl_combined_imp10/value", value)
    check("bce/icarl_combined_imp10/grad", gradient_of(value, logits))


# -- by hand


def test_background_of_a_step_is_all_earlier_classes():
    """Even logits of 4 classes, 3 of them old: -log(3/4) for old labels, log 4 for the new one."""
    logits, target = torch.zeros(1, 4, 1, 4), torch.tensor([[[0, 2, 3, 255]]])
    pixels = UnbiasedCE().pixels(logits, torch.zeros(1, 3, 1, 4), target)
    assert pixels[0, 0].tolist() == pytest.approx([-np.log(0.75), -np.log(0.75), np.log(4), 0])


def test_background_of_the_teacher_is_all_new_classes():
    """Even logits of 4 classes, 2 of them old: -(log(3/4) + log(1/4)) / 4; plain distillation has log(2) / 2."""
    logits, teacher = torch.zeros(1, 4, 1, 1), torch.zeros(1, 2, 1, 1)
    assert UnbiasedKD()(logits, teacher).item() == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 4)
    assert OldClassKD()(logits, teacher).item() == pytest.approx(np.log(2) / 2)


def test_without_new_classes_both_distillations_agree():
    rng = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, 5, 3, 3, generator=rng), torch.randn(2, 5, 3, 3, generator=rng)
    torch.testing.assert_close(UnbiasedKD(2.0)(logits, teacher), OldClassKD(2.0)(logits, teacher))


def test_void_takes_part_in_the_published_icarl_only():
    """One pixel of void, an old and a new class with even logits: 2 log 2; it is left out where it is not kept."""
    logits, teacher, target = torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1), 255)
    assert ICaRLDisjoint()(logits, teacher, target).item() == pytest.approx(2 * np.log(2))
    assert ICaRLDisjoint(keep_void=False)(logits, teacher, target) == 0


def test_features_by_hand():
    own, teachers = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 2.0]]]])
    assert FeatureMSE()(own, teachers) == 2
    with pytest.raises(ValueError, match="the teacher's"):
        FeatureMSE()(own, teachers[..., :1])


def test_a_teacher_that_knows_more_is_refused():
    logits, target = torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="3 classes and the teacher's 4"):
        UnbiasedKD()(logits, torch.zeros(1, 4, 2, 2))
    with pytest.raises(ValueError, match="at least one more"):
        UnbiasedCE()(logits, logits, target)


def test_low_labels_and_a_distance_between_groups_of_logits_stay_exact():
    """Far apart groups: log(1 + exp(-30)) is lost where the log-sum-exps are subtracted in float32."""
    logits = torch.tensor([30.0, -40.0, 0.0]).view(1, 3, 1, 1)
    value = UnbiasedCE()(logits, logits[:, :2], torch.zeros(1, 1, 1, dtype=torch.uint8))
    assert value.item() == pytest.approx(np.exp(-30), rel=1e-5)


def test_rows_of_a_config_find_the_teachers_outputs():
    """The teacher's logits are resized with the student's; the distillation row has no target."""
    rng = torch.Generator().manual_seed(0)
    widths = {"logits": 5, "teacher.logits": 3, "features.0": 2, "teacher.features.0": 2}
    outputs = {name: torch.randn(1, width, 4, 4, generator=rng) for name, width in widths.items()}
    outputs["logits"].requires_grad_(), outputs["features.0"].requires_grad_()
    batch = {"image": torch.zeros(1, 3, 8, 8), "mask": torch.randint(0, 5, (1, 8, 8), generator=rng)}
    pair, features = ["logits", "teacher.logits"], ["features.0", "teacher.features.0"]
    rows = [
        dict(type="UnbiasedCE"),
        dict(type="UnbiasedKD", weight=10.0),
        dict(type="LocalPOD", on=[*pair, *features], at="native"),
        dict(type="FeatureMSE", on=features, at="native", weight=100.0),
    ]
    terms = build_criterion(rows)(outputs, batch, 0)
    large = [torch.nn.functional.interpolate(outputs[name], (8, 8), mode="bilinear") for name in pair]
    torch.testing.assert_close(terms["UnbiasedCE"], UnbiasedCE()(*large, batch["mask"]))
    torch.testing.assert_close(terms["UnbiasedKD"], 10 * UnbiasedKD()(*large))
    small = [outputs[name] for name in pair + features]
    torch.testing.assert_close(terms["LocalPOD"], LocalPOD()(*small))
    torch.testing.assert_close(terms["FeatureMSE"], 100 * FeatureMSE()(*small[2:]))
