"""Values and gradients of published code from tests/fixtures/losses: values 1e-5 relative, gradients 1e-6 absolute.

pixel_losses.npz: mmseg 1.2.2 and segmentation_models_pytorch 0.6.0 on the inputs in/*; value, and every second row and
third column of the gradient to the logits. ritm.npz: RITM at commit b9b4460. mib_plain.npz: MiB's plain CE and BCE.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from segkit.losses.binary_cross_entropy import BinaryCrossEntropy
from segkit.losses.boundary import BoundaryBCE
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.focal import BinaryFocal, SigmoidFocal
from segkit.losses.lovasz import LovaszHinge, LovaszSoftmax
from segkit.losses.mcc import MCC
from segkit.losses.normalized_focal import NormalizedFocal
from segkit.losses.ohem import OHEM
from segkit.losses.region import Dice, FocalTversky, Jaccard, Tversky
from segkit.losses.soft_iou import SoftIoU

FIXTURES = Path(__file__).parents[1] / "fixtures" / "losses"
WEIGHTS = [0.5, 1.0, 2.0, 0.75, 1.5]
MEAN_ONE = [weight / 1.15 for weight in WEIGHTS]
PIXELS = 360  # of both images

CE, BCE = CrossEntropy, BinaryCrossEntropy
MMSEG = [
    ("ce.ani0.cw0.clean", CE(average="all"), "logits", "label", 1),
    ("ce.ani0.cw0.ign", CE(average="all"), "logits", "label_ignore", 1),
    ("ce.ani0.cw1.clean", CE(WEIGHTS), "logits", "label", 1),
    ("ce.ani1.cw0.clean", CE(), "logits", "label", 1),
    ("ce.ani1.cw0.ign", CE(), "logits", "label_ignore", 1),
    ("ce.ani1.cw1.clean", CE(WEIGHTS), "logits", "label", 1),
    ("ce.sum.ign", CE(average="all"), "logits", "label_ignore", PIXELS),
    ("ce.none.ign", CE(WEIGHTS, average="all"), "logits", "label", PIXELS),
    ("ce.none.cw.ign", CE(WEIGHTS, average="all"), "logits", "label_ignore", PIXELS),
    ("bce5.ani0.cw0.ign", BCE(average="all"), "logits", "label_ignore", 1),
    ("bce5.ani1.cw0.ign", BCE(), "logits", "label_ignore", 1),
    ("bce1.ani0.ign", BCE(average="all"), "logits1", "binary_ignore", 1),
    ("bce1.ani1.ign", BCE(), "logits1", "binary_ignore", 1),
    ("focal.onehot", SigmoidFocal(alpha=0.5), "logits", "onehot", 1),
    ("focal.onehot", SigmoidFocal(alpha=0.5), "logits", "label", 1),
    ("focal.onehot.g15.a25.cw", SigmoidFocal(1.5, 0.25, WEIGHTS), "logits", "onehot", 2),
    ("focal.onehot.alphalist.sum", SigmoidFocal(alpha=[0.1, 0.3, 0.5, 0.7, 0.9]), "logits", "label", 5 * PIXELS),
    ("focal.onehot.none", SigmoidFocal(alpha=0.5), "logits", "onehot", 5 * PIXELS),
    ("focal.py_ign", SigmoidFocal(alpha=0.5, average="all"), "logits", "label_ignore", 1),
    ("focal.py_ign.avg", SigmoidFocal(alpha=0.5, average="all"), "logits", "label_ignore", 5 * PIXELS / 100),
    ("ohem.t0.7.k20", OHEM(min_kept=20), "logits", "label_ignore", 1),
    ("ohem.t0.7.k150", OHEM(min_kept=150), "logits", "label_ignore", 1),
    ("ohem.t0.1.k1", OHEM(threshold=0.1, min_kept=1), "logits", "label_ignore", 1),
    ("ohem.t0.1.k200", OHEM(threshold=0.1, min_kept=200), "logits", "label_ignore", 1),
    ("ohem.t0.7.k100000", OHEM(), "logits", "label_ignore", 1),
    ("ohem.cw", OHEM(CE(WEIGHTS), 0.3, 50), "logits", "label_ignore", 0.5),
    ("boundary", BoundaryBCE(average="all"), "logits1", "binary", 20),
    ("boundary.ign", BoundaryBCE(average="all"), "logits1", "binary_ignore", 1),
]
JOINT = dict(per_image=True, joint=True, mask_ignored=False, absent="count")
SQUARED = dict(squared=True, eps=2e-3, **JOINT)
NAIVE = dict(smooth=1e-3, eps=0.0, **JOINT)
MMSEG_TVERSKY = dict(per_image=True, absent="count")
FOUR_CLASSES = Tversky(smooth=1.0, classes=[0, 2, 3, 4], ignore=1, **MMSEG_TVERSKY)
MMSEG += [
    ("dice.sig1.naive1.ign", Dice("sigmoid", **NAIVE), "logits", "label_ignore", 1),
    ("dice.sig1.naive0.ign", Dice("sigmoid", **SQUARED), "logits", "label_ignore", 1),
    ("dice.sig0.naive1.ign", Dice(**NAIVE), "logits", "label_ignore", 1),
    ("dice.sig0.naive0.ign", Dice(**SQUARED), "logits", "label_ignore", 1),
    ("dice.softmax.clean", Dice(**SQUARED), "logits", "label", 1),
    ("dice.softmax.ignore_index1", Dice(classes=[0, 2, 3, 4], **SQUARED), "logits", "label", 1),
    ("dice.eps1.w3.none", Dice(**{**SQUARED, "eps": 2.0}), "logits", "label", 6),
    ("dice.binary", Dice("sigmoid", **SQUARED), "logits1", "binary", 1),
    ("dice.noact", Dice("sigmoid", **SQUARED), "logits", "label", 1),
    ("tversky.a0.3.ign", Tversky(0.3, 0.7, smooth=1.0, **MMSEG_TVERSKY), "logits", "label_ignore", 1),
    ("tversky.a0.5.ign", Tversky(0.5, 0.5, smooth=1.0, **MMSEG_TVERSKY), "logits", "label_ignore", 1),
    ("tversky.a0.75.ign", Tversky(0.75, 0.25, smooth=1.0, **MMSEG_TVERSKY), "logits", "label_ignore", 1),
    ("tversky.ignore_index1", FOUR_CLASSES, "logits", "label", 0.8),
    (
        "tversky.cw.smooth2.ign",
        Tversky(class_weight=WEIGHTS, smooth=2.0, **MMSEG_TVERSKY),
        "logits",
        "label_ignore",
        0.5,
    ),
]
for per_image in (False, True):
    start = f"lovasz.softmax.pi{int(per_image)}"
    own = dict(per_image=per_image)
    MMSEG += [
        (f"{start}.present.ign", LovaszSoftmax(**own), "logits", "label_ignore", 1),
        (f"{start}.all.ign", LovaszSoftmax(only_present=False, **own), "logits", "label_ignore", 1),
        (f"{start}.list.ign", LovaszSoftmax(only_present=False, classes=[0, 2], **own), "logits", "label_ignore", 1),
        (f"{start}.cw.ign", LovaszSoftmax(class_weight=WEIGHTS, **own), "logits", "label_ignore", 2),
        (f"lovasz.hinge.pi{int(per_image)}.ign", LovaszHinge(**own), "logits1", "binary_ignore", 1),
    ]


def smp_cases() -> list[tuple]:
    """The same settings for the three kinds of target."""
    cases = []
    for kind, logits, target in (
        ("binary", "logits1", "binary"),
        ("multiclass", "logits", "label"),
        ("multilabel", "logits", "multilabel"),
    ):
        region = dict(activation="softmax" if kind == "multiclass" else "sigmoid", absent="zero")
        cases += _smp_regions(kind, logits, target, region)
        cases += _smp_focal(kind, logits, target)
        lovasz = LovaszSoftmax if kind == "multiclass" else LovaszHinge
        for name, own in (("default", {}), ("per_imageTrue", dict(per_image=True))):
            cases.append((f"LovaszLoss.{kind}.{name}", lovasz(**own), logits, target, 1))
        cases.append((f"LovaszLoss.{kind}.ignore_index255", lovasz(), logits, f"{target}_ignore", 1))
        image = (
            f"LovaszLoss.{kind}.per_imageTrue.ignore_index255",
            lovasz(per_image=True),
            logits,
            f"{target}_ignore",
            1,
        )
        cases.append(image)
    smooth = BCE(label_smoothing=0.2, average="all")
    return [
        *cases,
        ("SoftCrossEntropyLoss.s0.1", CE(label_smoothing=0.1, average="all"), "logits", "label_ignore", 1),
        ("SoftBCEWithLogitsLoss.s0.1", smooth, "logits1", "binary_ignore", 1),
        ("SoftBCEWithLogitsLoss.sNone", BCE(average="all"), "logits1", "binary_ignore", 1),
        ("MCCLoss.eps1e-05", MCC(), "logits1", "binary", 1),
        ("MCCLoss.eps1.0", MCC(eps=1.0), "logits1", "binary", 1),
    ]


def _smp_regions(kind: str, logits: str, target: str, own: dict) -> list[tuple]:
    cases = []
    for name, loss, double in (("DiceLoss", Dice, 2.0), ("JaccardLoss", Jaccard, 1.0)):
        start = f"{name}.{kind}"
        cases += [
            (f"{start}.default", loss(**own), logits, target, 1),
            (f"{start}.smooth1.0", loss(smooth=double, **own), logits, target, 1),
            (f"{start}.log_lossTrue", loss(log=True, **own), logits, target, 1),
            (f"{start}.ignore_index255", loss(**own), logits, f"{target}_ignore", 1),
        ]
        if name == "DiceLoss":
            smooth = loss(smooth=double, **own)
            cases.append((f"{start}.smooth1.0.ignore_index255", smooth, logits, f"{target}_ignore", 1))
        if kind != "binary":
            cases.append((f"{start}.classes", loss(classes=[0, 2], **own), logits, target, 1))
            cases.append((f"{start}.class_weights", loss(class_weight=MEAN_ONE, **own), logits, target, 1))
    if kind != "binary":
        chosen, weighted = Tversky(0.5, 0.5, classes=[0, 2], **own), Tversky(0.5, 0.5, class_weight=MEAN_ONE, **own)
        cases.append((f"TverskyLoss.{kind}.classes", chosen, logits, target, 1))
        cases.append((f"TverskyLoss.{kind}.class_weights", weighted, logits, target, 1))
    smooth = Tversky(0.3, 0.7, log=True, smooth=1.0, **own)
    focal = FocalTversky(gamma=1.3333, alpha=0.7, beta=0.3, of_mean=True, **own)
    start = f"TverskyLoss.{kind}"
    return [
        *cases,
        (f"{start}.alpha0.3.beta0.7", Tversky(0.3, 0.7, **own), logits, target, 1),
        (f"{start}.alpha0.7.beta0.3.gamma1.3333", focal, logits, target, 1),
        (f"{start}.alpha0.3.beta0.7.smooth1.0.log_lossTrue", smooth, logits, target, 1),
        (f"{start}.ignore_index255", Tversky(0.5, 0.5, **own), logits, f"{target}_ignore", 1),
    ]


def _smp_focal(kind: str, logits: str, target: str) -> list[tuple]:
    start = f"FocalLoss.{kind}"
    cases = [
        (f"{start}.default", SigmoidFocal(), logits, target, 1),
        (f"{start}.alpha0.25", SigmoidFocal(alpha=0.25), logits, target, 1),
        (f"{start}.gamma3.0.reductionsum", SigmoidFocal(3.0), logits, target, PIXELS),
        (f"{start}.normalizedTrue", SigmoidFocal(normalized=True), logits, target, 1 / PIXELS),
        (f"{start}.reduced_threshold0.5", SigmoidFocal(reduced_threshold=0.5), logits, target, 1),
    ]
    if kind != "multilabel":
        alpha = SigmoidFocal(alpha=0.25)
        cases.append((f"{start}.ignore_index255", SigmoidFocal(), logits, f"{target}_ignore", 1))
        cases.append((f"{start}.alpha0.25.ignore_index255", alpha, logits, f"{target}_ignore", 1))
    if kind != "binary":
        cases.append((f"{start}.class_weights", SigmoidFocal(class_weight=MEAN_ONE), logits, target, 1))
    if kind == "binary":
        soft = BinaryFocal(alpha=None, per_sample=False, ignore=255)
        cases.append((f"{start}.ignore_index255", soft, logits, f"{target}_ignore", 1))
    return cases


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "pixel_losses.npz") as arrays:
        return dict(arrays)


def _inputs(stored: dict, logits: str, target: str) -> tuple[torch.Tensor, torch.Tensor]:
    label = torch.from_numpy(stored[f"in/{target}"])
    return torch.from_numpy(
        stored[f"in/{logits}"]
    ).requires_grad_(), label.float() if target == "onehot" else label.long()


ALL = [("mmseg", *case) for case in MMSEG] + [("smp", *case) for case in smp_cases()]


@pytest.mark.parametrize(("source", "key", "loss", "logits", "target", "factor"), ALL, ids=lambda part: str(part)[:60])
def test_equals_published(stored, source, key, loss, logits, target, factor):
    x, label = _inputs(stored, logits, target)
    value = loss(x, label) * factor
    value.backward()
    assert value.item() == pytest.approx(stored[f"{source}/{key}/value"], rel=1e-5)
    # a sum over pixels has gradients larger by the number of pixels, and so their rounding
    assert np.abs(x.grad.numpy()[..., ::2, ::3] - stored[f"{source}/{key}/grad"]).max() < 1e-6 * max(1, factor / 20)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize(("name", "loss"), [("Dice", Dice), ("Jaccard", Jaccard), ("Tversky", Tversky)])
def test_probabilities_in_place_of_logits(stored, kind, name, loss):
    names = {"binary": ("logits1", "binary"), "multiclass": ("logits", "label"), "multilabel": ("logits", "multilabel")}
    x, label = _inputs(stored, *names[kind])
    own = dict(alpha=0.5, beta=0.5) if name == "Tversky" else {}
    probabilities = x.softmax(1) if kind == "multiclass" else x.sigmoid()
    value = loss(activation="none", absent="zero", **own)(probabilities, label)
    value.backward()
    key = f"smp/{name}Loss.{kind}.from_probs"
    assert value.item() == pytest.approx(stored[f"{key}/value"], rel=1e-5)
    assert np.abs(x.grad.numpy()[..., ::2, ::3] - stored[f"{key}/grad"]).max() < 1e-6


@pytest.mark.parametrize(
    ("key", "average", "factor"), [("ce.pixelweight.ign", "all", 0.4), ("ce.pixelweight.ani.ign", "valid", 1)]
)
def test_pixel_weight_equals_mmseg(stored, key, average, factor):
    x, label = _inputs(stored, "logits", "label_ignore")
    value = CE(average=average)(x, label, torch.from_numpy(stored["in/pixel_weight"])) * factor
    value.backward()
    assert value.item() == pytest.approx(stored[f"mmseg/{key}/value"], rel=1e-5)
    assert np.abs(x.grad.numpy()[..., ::2, ::3] - stored[f"mmseg/{key}/grad"]).max() < 1e-6


@pytest.mark.parametrize(("threshold", "min_kept"), [(0.7, 20), (0.2, 50), (None, 30)])
def test_kept_pixels_equal_the_sampler_of_mmseg(stored, threshold, min_kept):
    x, label = _inputs(stored, "logits", "label_ignore")
    kept = OHEM(threshold=threshold, min_kept=min_kept, per_image=True).kept(x, label)
    bits = stored[f"mmseg/ohem_sampler.t{threshold}.k{min_kept}/weight"]
    assert np.array_equal(np.packbits(kept.numpy()), bits)


RITM = {
    "nfl_a50": NormalizedFocal(),
    "nfl_default_a25": NormalizedFocal(0.25),
    "nfl_g1": NormalizedFocal(gamma=1.0),
    "nfl_nodetach": NormalizedFocal(detach=False),
    "nfl_maxmult2": NormalizedFocal(max_mult=2.0),
    "nfl_sum": NormalizedFocal(sum_pixels=True),
    "focal_a50": BinaryFocal(),
    "focal_default": BinaryFocal(alpha=0.25),
    "softiou": SoftIoU(),
    "bce": BCE(average="all", ignore=-1),
}


@pytest.mark.parametrize("name", RITM)
@pytest.mark.parametrize("label", ["plain", "ignore", "soft"])
def test_equals_ritm(name, label):
    """The first sample holds logits of +-60 and 120, where the published focal forms lose their gradient: its value is
    compared for the others alone, its gradients at the healthy logits (its loss enters none of them but nodetach's)."""
    with np.load(FIXTURES / "ritm.npz") as arrays:
        x, target = torch.from_numpy(arrays["pred"]), torch.from_numpy(arrays[f"label_{label}"])
        values, gradients = arrays[f"{name}/{label}/loss"], arrays[f"{name}/{label}/grad"]
    x = x[: len(target)].requires_grad_()
    loss = RITM[name]
    is_focal = name.startswith(("nfl", "focal"))
    loss(x, target).backward()
    each = np.array([loss(x[i : i + 1], target[i : i + 1]).item() for i in range(len(target))])
    has_label = (target != -1).flatten(1).any(1).numpy()  # the published SoftIoU is 1 on the fourth, without gradient
    first = int(is_focal)
    assert each[first:] == pytest.approx(np.where(has_label, values, 0)[first:], rel=1e-5)
    healthy = (x.detach().abs() < 16).numpy() if is_focal else np.ones(x.shape, bool)
    if name == "nfl_nodetach":
        healthy[0] = False
    scale = 192 if name == "nfl_sum" else 1
    assert np.abs(x.grad.numpy() - gradients)[healthy].max() < 1e-6 * scale


def test_equals_mib_plain():
    with np.load(FIXTURES / "mib_plain.npz") as arrays:
        stored = {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}
    for key, loss in (
        ("bce/ignore_mean", BCE(sum_classes=True)),
        ("bce/ignore_none", BCE(sum_classes=True, average="all")),
    ):
        x = stored["bce/logits"].clone().requires_grad_()
        value = loss(x, stored["bce/target"].long())
        value.backward()
        assert value.item() == pytest.approx(stored[f"{key}/value"].mean().item(), rel=1e-5)
        torch.testing.assert_close(x.grad, stored[f"{key}/grad"], rtol=0, atol=1e-6)
    x = stored["ce_plain/logits"].clone().requires_grad_()
    value = CE(average="all")(x, stored["ce_plain/target"].long())
    value.backward()
    assert value.item() == pytest.approx(stored["ce_plain/value_trainer"].item(), rel=1e-9)
    torch.testing.assert_close(x.grad, stored["ce_plain/grad"], rtol=0, atol=1e-9)
