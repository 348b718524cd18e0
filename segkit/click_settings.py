"""Section inference.clicks: how clicks become a mask, and how evaluation clicks."""

from dataclasses import dataclass, field


@dataclass
class ZoomSettings:
    """inference.clicks.zoom: the network sees a box around the last mask. target: its longer side in pixels, or
    (height, width); skip: clicks that see the whole image (-1: also the first is resized to `target`); expansion: box
    over mask; min_crop: its shortest side; recompute_iou: overlap below which a new box replaces the one in use;
    threshold: probability of the mask the box encloses."""

    target: int | tuple[int, int] = 400
    skip: int = 1
    expansion: float = 1.4
    min_crop: int = 200
    recompute_iou: float = 0.5
    threshold: float = 0.5


@dataclass
class ClickInference:
    """inference.clicks: from clicks to a mask, and the protocol of evaluation.

    zoom: dict of ZoomSettings' fields, None for the whole image; flip: logits are averaged with the mirrored image's;
    limit: longest side of what the network sees; clicks_limit: the network sees that many of the oldest clicks, None
    for all (f-BRS 8, RGB-BRS and DistMap-BRS 5); stale_roi: reproduces the published zoom's fault (an emptied mask
    leaves the old box in use for the result); brs: None, "RGB-BRS", "DistMap-BRS", "f-BRS-A", "f-BRS-B" or "f-BRS-C",
    refined from the click after `brs_after` on, with at most `brs_evaluations` passes per click, until the mask
    changes by less than `brs_min_change` (of IoU). fold_norms: without brs, normalisations are folded into
    convolutions, which answers the same, up to rounding, sooner.
    An object is clicked until its IoU is target_iou, at least min_clicks and at most max_clicks times; threshold:
    probability above which a pixel is the object's; keep_masks: whether the mask after each click is kept.
    """

    zoom: dict | None = field(default_factory=dict)
    flip: bool = True
    limit: int | None = None
    clicks_limit: int | None = None
    stale_roi: bool = False
    brs: str | None = None
    brs_after: int = 1
    brs_evaluations: int = 20
    brs_min_change: float = 0.01
    fold_norms: bool = True
    max_clicks: int = 20
    min_clicks: int = 1
    target_iou: float = 0.90
    threshold: float = 0.49
    keep_masks: bool = False
