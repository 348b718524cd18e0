"""Plain sections of a config as dataclasses: their keys and default values."""

from dataclasses import dataclass, field


@dataclass
class TrainSettings:
    """Section `train`: data the model learns from. batch_size is per process; prefetch is in batches per worker."""

    dataset: dict
    transforms: list = field(default_factory=list)
    batch_size: int = 4
    workers: int = 2
    sampler: dict = field(default_factory=lambda: {"type": "Shuffle"})
    prefetch: int = 2


@dataclass
class EvalSettings:
    """Sections `val` and `test`: data that is scored at its original size; transforms touch the image alone."""

    dataset: dict
    transforms: list = field(default_factory=list)
    batch_size: int = 1
    workers: int = 2


@dataclass
class ScoredSettings(EvalSettings):
    """Section `test`, or one of its named sets. inference: values of this set over those of section `inference`."""

    inference: dict = field(default_factory=dict)


@dataclass
class LoopSettings:
    """Section `loop`. Give steps or epochs; eval_every and save_every are in steps, 0 = at the end only;
    keep: numbered checkpoints kept beside last.pt and best.pt; accumulate: batches per optimizer step;
    clip: largest gradient norm, 0 = off; amp: "off", "bf16" or "fp16"; ema: decay, 0 = off."""

    steps: int = 0
    epochs: int = 0
    accumulate: int = 1
    clip: float = 0.0
    amp: str = "off"
    ema: float = 0.0
    sync_bn: bool = False
    channels_last: bool = False
    compile: bool = False
    seed: int = 0
    log_every: int = 50
    eval_every: int = 0
    save_every: int = 500
    keep: int = 0
    monitor: str = "mIoU"
    better: str = "higher"
    deterministic: bool = False


@dataclass
class InferenceSettings:
    """Section `inference`. mode: "whole" or "slide"; crop, stride: (height, width) of the sliding window;
    tta: dict(scales=(...), flip=True); threshold: probability above which a one-class model says 1;
    pad_divisor: images are padded at the right and bottom to a multiple of it, with the model's mean; fold_norms: a
    copy of the model answers that has its normalizations in its convolutions: fewer passes, equal but for rounding."""

    mode: str = "whole"
    crop: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    tta: dict | None = None
    threshold: float = 0.5
    pad_divisor: int = 1
    fold_norms: bool = False
    refiners: list = field(default_factory=list)
    clicks: dict = field(default_factory=dict)


@dataclass
class TTASettings:
    """inference.tta: image scales and whether each is also seen mirrored."""

    scales: tuple[float, ...] = (1.0,)
    flip: bool = True


@dataclass
class InitSettings:
    """Section `init`: weights to start from. drop: key prefixes left at their fresh values; map: a key map's name."""

    path: str
    drop: list = field(default_factory=list)
    map: str | None = None


@dataclass
class WarmupSettings:
    """schedule.warmup: the rate rises linearly from factor * lr over that many steps."""

    steps: int
    factor: float = 0.001


@dataclass
class RowSettings:
    """One row of section `losses`, without the arguments of the loss.

    A loss class may state its own `on`, `target` and `at` in its attribute `row`; these stand below a config's.

    Attributes:
        type: name of the loss.
        on: name or names of model outputs, or one pattern ("aux*.logits": the loss is computed for each match).
        target: name or names of batch entries.
        weight: a number, or dict(value=1.0, warmup=steps, start=0.0).
        at: "image" resizes outputs to the target's size first, "native" leaves them.
        name: in the log, instead of the loss's.
    """

    type: str
    on: str | list[str] = "logits"
    target: str | list[str] | None = None
    weight: float | dict = 1.0
    at: str = "image"
    name: str | None = None


@dataclass
class WeightSettings:
    """losses[].weight as a dict: rises linearly from start to value over warmup steps, then stays."""

    value: float = 1.0
    warmup: int = 0
    start: float = 0.0


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
    changes by less than `brs_min_change` (of IoU). fold_norms: without brs, normalizations are folded into
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
