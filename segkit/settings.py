"""The sections of a config that are not built from a registry, as dataclasses: their keys and default values."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from segkit.constraints.named import (
    AnySize,
    Decay,
    Fraction,
    Names,
    NonNegativeFloat,
    NonNegativeInt,
    Pattern,
    PositiveFloat,
    PositiveInt,
    Range,
    Rounds,
    Scale,
    Seconds,
    Seed,
    Workers,
)


@dataclass
class TrainSettings:
    """Section `train`: the data that the model learns from.

    Attributes:
        dataset: dict(type=..., arguments) of the data set.
        transforms: list of dict(type=..., arguments), in their order.
        batch_size: images per batch and process, 1 or more.
        workers: processes that read data, for each training process; 0 reads in the training process.
        sampler: dict(type=..., arguments), the order of the images.
        prefetch: batches that each worker prepares ahead.
        timeout: seconds to wait for a batch of the workers before the run ends, 0 for any time.
    """

    dataset: dict
    transforms: list[dict] = field(default_factory=list)
    batch_size: PositiveInt = 4
    workers: Workers = 2
    sampler: dict = field(default_factory=lambda: {"type": "Shuffle"})
    prefetch: PositiveInt = 2
    timeout: Seconds = 600.0


@dataclass
class EvalSettings:
    """Sections `val` and `test`: data that is scored at its original size.

    Attributes:
        dataset: dict(type=..., arguments) of the data set.
        transforms: list of dict(type=..., arguments), in their order; they change the image alone, not the labels.
        batch_size: images per batch and process, 1 or more.
        workers: processes that read data, for each process of the run; 0 reads in that process.
        timeout: seconds to wait for a batch of the workers before the run ends, 0 for any time.
    """

    dataset: dict
    transforms: list[dict] = field(default_factory=list)
    batch_size: PositiveInt = 1
    workers: Workers = 2
    timeout: Seconds = 600.0


@dataclass
class ScoredSettings(EvalSettings):
    """Section `test`, or one of its named sets.

    Attributes:
        inference: values for this set, which win over those of section `inference`.
        dataset, transforms, batch_size, workers, timeout: as in EvalSettings.
    """

    inference: dict = field(default_factory=dict)


@dataclass
class LoopSettings:
    """Section `loop`: length, precision and rhythm of a training.

    Attributes:
        steps: optimizer steps of the run; give either steps or epochs.
        epochs: passes over the training data; give either steps or epochs.
        accumulate: batches per optimizer step, 1 or more.
        clip: largest norm of the gradient, 0 for no clipping.
        amp: mixed precision: "off", "bf16", "fp16" (needs a GPU), or "auto": "bf16" where the device has it.
        ema: decay of the moving average of the weights, 0..1, which is then evaluated and published; 0 for none.
        ema_rise, ema_buffers: how the average begins, and whether buffers are part of it; see engine.optim.Ema.
        sync_bn: whether batch norms share statistics over all processes; needs GPUs.
        channels_last: channels last in memory: equal results but for rounding; "auto": see models.memory_layout.
        compile: whether torch.compile compiles the model, and each loss that makes one graph.
        shard: "off", or "fsdp": each process holds a part of a model too large for one device, see engine.sharding.
        checkpoint_activations: whether encoder blocks are computed again for gradients: less memory, a third more time.
        seed: of weights, augmentation and sampling.
        log_every: steps between two lines of the log.
        eval_every: steps between two evaluations, 0 for one at the end.
        save_every: steps between two checkpoints, 0 for one at the end.
        keep: numbered checkpoints that are kept beside last.pt and best.pt.
        monitor: score that chooses best.pt; None: the metrics' main one (mIoU, segm.AP of CocoAP, NoC@90 of NoC).
        better: "higher" or "lower", which values of that score are better; None where the metric knows.
        patience: evaluations in a row without a better score that end the run, 0 for never; schedules keep length.
        deterministic: chooses deterministic, slower algorithms; without them two runs on a GPU differ in last digits.
        process_timeout: seconds that a process of several waits for the others before the run ends, 1 or more.
    """

    steps: NonNegativeInt = 0
    epochs: NonNegativeInt = 0
    accumulate: PositiveInt = 1
    clip: NonNegativeFloat = 0.0
    amp: Literal["off", "bf16", "fp16", "auto"] = "off"
    ema: Decay = 0.0
    ema_rise: PositiveInt = 10
    ema_buffers: bool = True
    sync_bn: bool = False
    channels_last: bool | Literal["auto"] = "auto"
    compile: bool = False
    shard: Literal["off", "fsdp"] = "off"
    checkpoint_activations: bool = False
    seed: Seed = 0
    log_every: NonNegativeInt = 50
    eval_every: NonNegativeInt = 0
    save_every: NonNegativeInt = 500
    keep: NonNegativeInt = 0
    monitor: str | None = None
    better: Literal["higher", "lower"] | None = None
    patience: NonNegativeInt = 0
    deterministic: bool = False
    process_timeout: Annotated[float, Range(1, 10_000_000)] = 3600.0


@dataclass
class InferenceSettings:
    """Section `inference`: from a model's outputs to predictions.

    Attributes:
        mode: "whole" image or "slide", a sliding window.
        crop: (height, width) of the sliding window in pixels.
        stride: (height, width) in pixels by which the window moves; "even" spreads as few windows as cover the image
            evenly, as in EoMT.
        tta: test-time augmentation, dict of the keys of TTASettings; None for none.
        threshold: probability above which a model of one class predicts 1.
        pad_divisor: images are padded at the right and bottom, with the model's mean, to multiples of it in pixels.
        fold_norms: whether normalizations are folded into convolutions before predicting: fewer passes over memory,
            and the same results up to rounding.
        refiners: list of dict(type=..., arguments): they improve the probabilities of a label map, in
            turn, at the size and on the image as stored.
        clicks: of click models, dict of the keys of ClickInference.
    """

    mode: Literal["whole", "slide"] = "whole"
    crop: AnySize | None = None
    stride: AnySize | Literal["even"] | None = None
    tta: dict | None = None
    threshold: Fraction = 0.5
    pad_divisor: PositiveInt = 1
    fold_norms: bool = False
    refiners: list[dict] = field(default_factory=list)
    clicks: dict = field(default_factory=dict)


@dataclass
class TTASettings:
    """inference.tta: the views of an image whose predictions are averaged.

    Attributes:
        scales: factors by which the image is resized.
        flip: whether each scale is also seen mirrored.
        keep_areas: whether each class keeps as many pixels as in the prediction without augmentation; see
            segkit.ops.class_balance.match_areas.
    """

    scales: tuple[Scale, ...] = (1.0,)
    flip: bool = True
    keep_areas: bool = False


@dataclass
class InitSettings:
    """Section `init`: weights that a training starts from.

    Attributes:
        path: a checkpoint of segkit, a published one, or "hf:OWNER/NAME" of the Hugging Face hub.
        drop: prefixes of names whose weights are not loaded and keep their initial values.
        map: name of a key map for the file; None finds it by names and shapes.
    """

    path: str
    drop: list[str] = field(default_factory=list)
    map: str | None = None


@dataclass
class WarmupSettings:
    """schedule.warmup: a linear rise of the learning rate at the start of a run.

    Attributes:
        steps: optimizer steps that it lasts, or a fraction of the run where it is below 1.
        factor: factor of the learning rate at the first step; it rises to 1.
        law: how the schedule counts: "multiplied", it runs from the first step on and is multiplied by the factor, as
            in mmcv before 2.0 and in most research code; "before", it begins after the warm-up, as in transformers and
            EoMT; "mmengine", like "before", but each reaches its end at its own last step, one step sooner.
    """

    steps: NonNegativeInt | Decay
    factor: Fraction = 0.001
    law: Literal["multiplied", "before", "mmengine"] = "multiplied"


@dataclass
class OptimizerSettings:
    """Keys of section `optimizer` beside the arguments of its class and `groups`.

    Attributes:
        freeze: parts of the model that are not trained: a path, a pattern of names of parameters, or several; "" for
            none.
    """

    freeze: str | Names = ""


@dataclass
class GroupSettings:
    """One row of optimizer.groups: factors for the parameters that it chooses.

    Attributes:
        match: regular expression that is searched for in the names of parameters.
        kind: "norm", parameters of normalization layers, "bias", biases, or "vector", parameters of one dimension (both
            of these, layer scales and the like).
        lr: factor of the learning rate.
        decay: factor of the weight decay.
        wait: steps that these parameters are kept at rate 0 before their warm-up begins.
        warmup: steps of their warm-up; None for those of schedule.warmup.
    """

    match: Annotated[str, Pattern()] | None = None
    kind: Literal["norm", "bias", "vector"] | None = None
    lr: NonNegativeFloat = 1.0
    decay: NonNegativeFloat = 1.0
    wait: NonNegativeInt = 0
    warmup: NonNegativeInt | None = None


@dataclass
class LayerDecaySettings:
    """optimizer.layer_decay: lower learning rates for the encoder's layers, the lower the closer to the image.

    Attributes:
        rate: factor from one layer to the one before.
        law: how layers are counted: "layer_wise" by blocks, as BEiT, "block_wise" by blocks, the last one at the full
            rate, as EoMT, or "stage_wise" as mmsegmentation's ConvNeXt.
        layers: of "stage_wise": the head trains at the full rate, stage i at rate ** (layers - i).
    """

    rate: Annotated[float, Range(0, 1, above=True)]
    law: Literal["layer_wise", "block_wise", "stage_wise"] = "layer_wise"
    layers: PositiveInt = 6


@dataclass
class LoraSettings:
    """optimizer.lora: low-rank updates of linear layers train in place of their weights.

    Attributes:
        match: regular expression that is searched for in the names of linear layers.
        rank: of the updates.
        alpha: an update counts alpha / rank times; None for rank.
    """

    match: Annotated[str, Pattern()]
    rank: PositiveInt = 8
    alpha: PositiveFloat | None = None


@dataclass
class RowSettings:
    """One row of section `losses`, without the arguments of the loss.

    A loss class may state its own `on`, `target` and `at` in its attribute `row`; these stand below a config's.

    Attributes:
        type: name of the loss.
        on: name or names of model outputs, or one pattern ("aux*.logits": the loss is computed for each match).
        target: name or names of batch entries.
        weight: a number, or dict(value=1.0, warmup=steps, start=0.0, after=steps).
        at: "image" resizes outputs to the target's size first, "native" leaves them.
        name: in the log, instead of the loss's.
    """

    type: str
    on: str | Names = "logits"
    target: str | Names | None = None
    weight: NonNegativeFloat | dict = 1.0
    at: Literal["image", "native"] = "image"
    name: str | None = None


@dataclass
class WeightSettings:
    """losses[].weight as a dict: a factor that rises linearly and then stays.

    Attributes:
        value: of the factor after the rise.
        warmup: optimizer steps that the rise lasts, 0 for none.
        start: of the factor at the first step of the rise, and before it.
        after: optimizer steps before the rise begins.
    """

    value: NonNegativeFloat = 1.0
    warmup: NonNegativeInt = 0
    start: NonNegativeFloat = 0.0
    after: NonNegativeInt = 0


@dataclass
class ZoomSettings:
    """inference.clicks.zoom: the network sees an enlarged box around the last mask.

    Attributes:
        target: longer side in pixels that the box is resized to, or (height, width).
        skip: number of first clicks that see the whole image at its own size; -1 resizes the whole image to `target` at
            the first click, too. With 0 a small object that was found in the whole image is predicted again, zoomed in.
        expansion: factor from the sides of the mask's box to those of the zoom's box.
        min_crop: shortest side of the box in pixels.
        recompute_iou: overlap in 0..1 below which a new box replaces the one in use.
        threshold: probability above which a pixel belongs to the mask that the box encloses.
        squash: shows the whole image at size `target` at every click, never a box; see runners.interactive.zoom.View.
        encloses_start: whether the first click zooms to a mask to start from, with skip below 1; FocalClick's does not.
    """

    target: AnySize = 400
    skip: Annotated[int, Range(-1)] = 1
    expansion: PositiveFloat = 1.4
    min_crop: PositiveInt = 200
    recompute_iou: Fraction = 0.5
    threshold: Fraction = 0.5
    squash: bool = False
    encloses_start: bool = True


@dataclass
class ClickInference:
    """inference.clicks: from clicks to a mask, and the protocol of the evaluation.

    Attributes:
        zoom: dict of the keys of ZoomSettings; None always shows the whole image.
        flip: whether logits are averaged with those of the mirrored image.
        limit: longest side of the network's input in pixels; None for any.
        clicks_limit: oldest clicks that the network, but no refiner, sees; None: all (f-BRS 8, RGB-BRS, DistMap-BRS 5).
        passes: passes that answer a click (cascade-forward refinement), each on the mask and with the zoom of the last.
        passes_until: pixels; a click gets no further pass after one that changed at most so many; 0 makes all.
        passes_clicks: number of first clicks that get more than one pass, None for all.
        stale_roi: reproduces the published zoom's fault: after an emptied mask the result is pasted into the old box.
        brs: backpropagating refinement, "RGB-BRS", "DistMap-BRS", "f-BRS-A", "f-BRS-B" or "f-BRS-C"; None for none.
        brs_after: number of first clicks that are not refined.
        brs_evaluations: passes of the refinement per click at most.
        brs_min_change: the refinement ends when the mask changes by less, measured as 1 - IoU; 0 turns this off.
        fold_norms: folds normalizations into convolutions where nothing is refined: faster, equal up to rounding.
        max_clicks: clicks per object at most.
        min_clicks: clicks per object at least.
        target_iou: IoU in 0..1 at which an object counts as found; above 1 none does, and all max_clicks are made.
        threshold: probability above which a pixel belongs to the object.
        keep_masks: whether predictions keep the mask after each click.
        merge: whether objects that start from a mask take over only the changed part under a click.
        merge_rest: whether the published merge's fault is reproduced, see ops.interactive.progressive_merge.
        boundary_iou: whether the boundary IoU after each click is measured, too.
        band: shares of a click map's mass that clicks are drawn from, likely ones of (.9, 1); None clicks deepest.
        maps: for `band`, a folder of click maps ID.png or ID.npy, or RClicks' network; None: distance from the border.
        seed: of the clicks that are drawn, anew for each object.
        users: CSV file of users' first clicks, as RClicks publishes it; each is answered alone, too.
        users_of: name of the data set in that file's column `dataset`, whose clicks are read; None reads all.
    """

    zoom: dict | None = field(default_factory=dict)
    flip: bool = True
    limit: PositiveInt | None = None
    clicks_limit: PositiveInt | None = None
    passes: Rounds = 1
    passes_until: NonNegativeInt = 0
    passes_clicks: PositiveInt | None = 1
    stale_roi: bool = False
    brs: str | None = None
    brs_after: NonNegativeInt = 1
    brs_evaluations: PositiveInt = 20
    brs_min_change: Fraction = 0.01
    fold_norms: bool = True
    max_clicks: PositiveInt = 20
    min_clicks: NonNegativeInt = 1
    target_iou: NonNegativeFloat = 0.95
    threshold: Fraction = 0.49
    keep_masks: bool = False
    merge: bool = False
    merge_rest: bool = False
    boundary_iou: bool = False
    band: tuple[Fraction, Fraction] | None = None
    maps: str | None = None
    users: str | None = None
    users_of: str | None = None
    seed: Seed = 42
