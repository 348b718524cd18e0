"""Curves of losses and schedules for the reference, computed while the site is built.

Most losses are drawn against the probability that the network gives the right class; those that read regions, outlines
or objects, against how far a right mask is shifted. docs/make_losses.py draws those of a single logit.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from segkit.registry import LOSSES, SCHEDULES, build
from segkit.viz.plots import COLORS
from website import scenes
from website.picture import Picture

Variants: TypeAlias = Sequence[tuple[dict[str, Any], str]]
Scene: TypeAlias = Callable[[nn.Module, float], Tensor | dict[str, Tensor]]

PROBABILITIES = tuple(0.02 + 0.96 * i / 49 for i in range(50))
SHIFTS = tuple(float(i) for i in range(0, 33, 2))
"""Pixels."""
SHARES = tuple(i / 40 for i in range(41))
RIGHT = "probability of the right class"
SHIFT = "shift of the mask in pixels"
FOUND = "probability of the class that the teacher finds"


class Curve(NamedTuple):
    """What is drawn of a loss.

    Attributes:
        scene: gives the loss's value at a point of the axis.
        variants: arguments and the label of each line.
        axis: what is varied.
        points: of the axis.
        text: what the picture shows.
        left_out: terms of the loss that the scene does not vary.
    """

    scene: Scene
    variants: Variants
    axis: str = RIGHT
    points: tuple[float, ...] = PROBABILITIES
    text: str = "All pixels give the right class this probability."
    left_out: tuple[str, ...] = ()


PLAIN: Variants = (({}, "defaults"),)
OF_DISK = "The prediction is the true disk, shifted to the right on an image of 64 x 64 pixels."
OF_OBJECT = "The predicted mask is the true disk, shifted to the right; the terms of classes are left out."
OF_BOX = "The mask is learned from the box; the prediction is the true disk, shifted. Terms of classes are left out."


def shifted(scene: Scene, variants: Variants = PLAIN, text: str = OF_DISK, left_out: Sequence[str] = ()) -> Curve:
    """Returns a curve over the shift of a mask."""
    return Curve(scene, variants, SHIFT, SHIFTS, text, tuple(left_out))


def taught(scene: Scene, variants: Variants = PLAIN, text: str = "The teacher gives its class 0.9 of 1.") -> Curve:
    """Returns a curve over what the student gives the teacher's class."""
    return Curve(scene, variants, FOUND, text=text)


_MIXED = (dict(bce=0.0, l1=1.0), "l1=1"), (dict(bce=0.0, l2=1.0), "l2=1")
_NO_CLASS = ("category",)
_IMAGE_ONLY: Variants = [(dict(iterations=0, feature=0.0, image=1.0), "")]
_OF_IMAGE = "The level set is that of the image alone: `feature=0, image=1`."

CURVES: dict[str, Curve] = {
    # of pixels
    "CrossEntropy": Curve(scenes.softmax, [({}, "plain"), (dict(label_smoothing=0.1), "label_smoothing=0.1")]),
    "Focal": Curve(scenes.softmax, [(dict(gamma=g), f"gamma={g:g}") for g in (0.0, 2.0, 5.0)]),
    "OHEM": Curve(scenes.softmax, [(dict(min_kept=0, threshold=t), f"min_kept=0, threshold={t}") for t in (0.7, 0.9)]),
    "ImageWeightedCrossEntropy": Curve(
        scenes.rare,
        [(dict(upper_bound=b), f"upper_bound={b:g}") for b in (0.0, 1.0, 10.0)],
        "probability of the right class where the class is rare",
        text="The rare class fills an eighth of the image; the other pixels are right with probability 0.9.",
    ),
    "MaskDistance": Curve(scenes.one_channel, [({}, "bce=1"), *_MIXED]),
    "ClassPresence": Curve(scenes.presence, PLAIN, text="The presence of each class is predicted so well."),
    "UnknownBCE": Curve(scenes.sigmoids_of_unknown, PLAIN, text="Each output is right with this probability."),
    "NewClassBCE": Curve(scenes.new_class, [(dict(pos_weight=w), f"pos_weight={w:g}") for w in (1.0, 4.0)]),
    "UnbiasedCE": Curve(
        scenes.merged_background,
        PLAIN,
        "probability of an old class at a pixel labelled background",
        text="Of two old classes and a new one, the new one has the rest. The dashed line is CrossEntropy.",
    ),
    "PseudoLabelCE": Curve(
        scenes.pseudo_label,
        [(dict(thresholds=[1.0, 1.0]), "")],
        text="Right is the old class, which the teacher sees.",
    ),
    "PseudoLabelBCE": Curve(scenes.pseudo_label_binary, PLAIN, text="As of PseudoLabelCE, each output on its own."),
    "AuxiliaryBCE": Curve(scenes.auxiliary, PLAIN, text="The auxiliary output shall be 0 everywhere."),
    "FLOPsBudget": Curve(
        scenes.budget, [(dict(share=s), f"share={s}") for s in (0.1, 0.3)], "cost as a share of the total", SHARES, ""
    ),
    "Affinity": Curve(scenes.affinity, [(dict(size=(4, 4)), "")], text="All pairs of positions are right with it."),
    "SegFixLoss": Curve(scenes.segfix, PLAIN, text="Directions count from the probability 0.5 of a boundary on."),
    "EdgeAttention": Curve(
        scenes.near_edges, PLAIN, "predicted probability of an edge", text="Classes are right with probability 0.7."
    ),
    "BoundaryOHEM": Curve(
        scenes.near_edges, PLAIN, "predicted probability of an edge", text="Classes are right with probability 0.6."
    ),
    # of a teacher's answers
    "KLDistillation": taught(scenes.distilled, [(dict(temperature=t), f"temperature={t:g}") for t in (1.0, 2.0, 4.0)]),
    "OldClassKD": taught(scenes.distilled, [(dict(alpha=a), f"alpha={a:g}") for a in (1.0, 2.0)]),
    "OldClassBCE": taught(scenes.distilled_sigmoids),
    "DecomposedKD": taught(scenes.decomposed, text="Positive and negative scores alike; the teacher gives 0.9."),
    "ICaRLDistillation": taught(scenes.distilled_sigmoids),
    "ICaRLDisjoint": taught(scenes.disjoint),
    "UnbiasedKD": Curve(
        scenes.unbiased, PLAIN, "probability of the new class", text="The teacher says background with probability 0.9."
    ),
    # of regions and outlines
    "LovaszSoftmax": shifted(scenes.label_map),
    "RMI": shifted(scenes.label_map, [(dict(weight=w), f"weight={w:g}") for w in (0.0, 0.5, 1.0)]),
    "DualTask": shifted(scenes.label_map),
    "ProbabilityDualTask": shifted(scenes.label_map),
    "SobelL1": shifted(scenes.one_mask),
    "Detail": shifted(scenes.detail, text=f"{OF_DISK} What is predicted is the disk's outline."),
    "TreeEnergy": shifted(scenes.on_image, text=f"{OF_DISK} The image shows the disk, and no pixel has a label."),
    "WeightedFocal": shifted(scenes.near_boundary, [(dict(share=s), f"share={s:g}") for s in (0.0, 0.5, 1.0)]),
    "BoundaryCE": shifted(scenes.one_mask),
    # of objects
    "CondInstMasks": shifted(scenes.masks_of_objects, text=OF_OBJECT),
    "MaskPoints": shifted(scenes.points_of_objects, text=OF_OBJECT),
    "BoxInst": shifted(scenes.colors_of_objects, [(dict(warm_up=1), "")], OF_BOX),
    "NoisyMasks": shifted(scenes.noisy_masks, [(dict(warm_up=1), "")], OF_OBJECT),
    "MAL": shifted(scenes.labelled_box, [(dict(mil_warm_up=0, crf_warm_up=0), "")], OF_BOX),
    "SOLOv2Masks": shifted(scenes.cells, PLAIN, OF_OBJECT, _NO_CLASS),
    "CellPoints": shifted(scenes.cells_at_points, PLAIN, OF_OBJECT, _NO_CLASS),
    "BoxLevelSet": shifted(scenes.cells_on_levels, _IMAGE_ONLY, f"{OF_BOX} {_OF_IMAGE}", _NO_CLASS),
    "APro": shifted(scenes.cells, PLAIN, OF_BOX, _NO_CLASS),
    "Mask2FormerMasks": shifted(scenes.queries, PLAIN, OF_OBJECT, _NO_CLASS),
    "Mask2FormerSemantic": shifted(scenes.queries_of_map, PLAIN, OF_OBJECT, _NO_CLASS),
    "MaskFormerSemantic": shifted(scenes.queries_of_map, PLAIN, OF_OBJECT, _NO_CLASS),
    "QueryPoints": shifted(scenes.queries_at_points, PLAIN, OF_OBJECT, _NO_CLASS),
    "Box2Mask": shifted(scenes.queries_on_levels, _IMAGE_ONLY, f"{OF_BOX} {_OF_IMAGE}", _NO_CLASS),
    "QueryAPro": shifted(scenes.queries_on_image, PLAIN, OF_BOX, _NO_CLASS),
    "FCOS": shifted(
        scenes.boxes,
        text="The predicted box is the true one, shifted to the right.",
        left_out=("category", "centerness"),
    ),
}
"""What is drawn of the losses that docs/make_losses.py does not draw."""

NO_CURVE = {
    "AtPoints": "it computes another loss, at points",
    "OnCoarseLabels": "it computes another loss, on smaller labels",
    "ChannelCube": "a distance of feature maps of many channels, no axis of which means something by itself",
    "PooledCube": "as ChannelCube",
    "LocalPOD": "as ChannelCube",
    "FeatureMSE": "a parabola over the distance of two features",
    "PseudoRegionMSE": "a parabola over the distance of two features",
    "ClassSimilarityKD": "KLDistillation with weights that come from the features of the batch",
    "PrototypeContrast": "one over a distance of mean features",
    "UncertaintyContrast": "a sum over all pairs of positions of a batch",
    "UnknownContrast": "compares whole maps with each other",
    "ReplayBCE": "NewClassBCE of pixels and of replayed features",
    "DiscoBox": "its terms compare objects of several images and a moving average of the network",
}
"""Losses without a picture, and why."""


def loss_pictures(folder: Path) -> dict[str, Picture]:
    """Draws the losses; returns the picture of each page."""
    found = {}
    for name, curve in CURVES.items():
        lines = lines_of(name)
        path = draw(folder, name, lines, (curve.axis, "value"))
        found[f"reference/losses/{name}.md"] = Picture(path, f"Value of the loss. {curve.text}".strip())
    return found


def lines_of(name: str) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """Computes a loss along its axis.

    Args:
        name: of CURVES.

    Returns:
        Label of a line -> its points x and its values y. A loss of several terms has a line for each.
    """
    curve = CURVES[name]
    lines: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    for arguments, label in curve.variants:
        loss = build(dict(type=name, **arguments), LOSSES, name)
        terms: dict[str, list[float]] = {}
        for x in curve.points:
            with torch.no_grad():
                value = curve.scene(loss, x)
            values = value if isinstance(value, dict) else {label: value}
            for term, number in values.items():
                terms.setdefault(term, []).append(float(number))
        lines |= {term: (curve.points, values) for term, values in terms.items() if term not in curve.left_out}
    if name == "UnbiasedCE":
        lines["CrossEntropy"] = (PROBABILITIES, [-math.log((1 - p) / 2) for p in PROBABILITIES])
    return lines


SCHEDULE_ARGUMENTS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "Constant": [({}, "constant")],
    "Cosine": [({}, "min_lr=0"), (dict(min_lr=0.02), "min_lr=0.02")],
    "Cyclic": [(dict(half_cycle=1000), "half_cycle=1000"), (dict(half_cycle=1000, decay=0.7), "decay=0.7")],
    "MultiStep": [(dict(milestones=[6000, 8000]), "milestones=[6000, 8000]")],
    "OneCycle": [({}, "rise=0.3"), (dict(rise=0.1), "rise=0.1")],
    "Poly": [({}, "power=0.9"), (dict(power=2.0), "power=2")],
    "Step": [(dict(every=2000, gamma=0.5), "every=2000, gamma=0.5")],
}
"""Of each schedule what is drawn, over 10,000 steps from a rate of 0.1."""

STEPS, BASE = 10_000, 0.1


def schedule_pictures(folder: Path) -> dict[str, Picture]:
    """Draws the learning rate of each schedule; returns the picture of each page."""
    found = {}
    for name, variants in SCHEDULE_ARGUMENTS.items():
        lines = {}
        for arguments, label in variants:
            schedule = build(dict(type=name, **arguments), SCHEDULES, name)
            steps = range(0, STEPS + 1, 50)
            lines[label] = (steps, [schedule.rate(BASE, min(step, STEPS - 1), STEPS) for step in steps])
        text = "The learning rate of 10,000 steps where `optimizer.lr` is 0.1."
        found[f"reference/schedules/{name}.md"] = Picture(draw(folder, name, lines, ("step", "learning rate")), text)
    return found


@cache
def _canvas() -> Any:
    """One figure for all pictures: to make one takes longer than to draw on it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 2.7), dpi=100, layout="tight")
    FigureCanvasAgg(figure)
    return figure


def draw(
    folder: Path, name: str, lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], axes: tuple[str, str]
) -> str:
    """Writes images/reference/NAME.png.

    Args:
        folder: source folder of the site.
        name: of the class.
        lines: label -> points x and values y.
        axes: labels of the two axes.

    Returns:
        The file under the folder.
    """
    figure = _canvas()
    figure.clear()
    panel = figure.add_subplot()
    styles = ("-", "--", "-.", ":")
    for number, (label, (xs, ys)) in enumerate(lines.items()):
        panel.plot(xs, ys, styles[number % 4], color=COLORS[number % len(COLORS)], label=label, linewidth=1.8)
    panel.set_xlabel(axes[0], fontsize=10)
    panel.set_ylabel(axes[1], fontsize=10)
    panel.tick_params(labelsize=9)
    panel.grid(alpha=0.3)
    if lines.keys() - {"", "defaults"}:
        panel.legend(fontsize=8.5)
    path = f"images/reference/{name}.png"
    figure.savefig(folder / path)
    return path
