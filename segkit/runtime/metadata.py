"""What an exported graph says about itself: JSON, written by `segkit export`, read by the runner without torch."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, get_args

from segkit.constraints.check import annotations, fault
from segkit.constraints.named import OneOf, PositiveInt, Range
from segkit.files import MAX_PIXELS, DataError, brief, limit, parse_json
from segkit.runners.mask_decision import MaskDecision

KEY = "segkit"
"""Name of the text in a graph's own metadata (ONNX metadata_props, OpenVINO rt_info, extra files of .pt2)."""

RESULTS: dict[str, tuple[str, ...]] = {"instances": ("scores", "labels", "boxes", "masks"), "clicks_encoder": ()}
"""Outputs that a task needs; others need the one that GraphInfo.output names."""

FORMAT = 1
"""Number of this layout. A reader refuses higher numbers."""

Task = Literal["semantic", "multi_label", "instances", "clicks_encoder", "clicks_decoder"]
Output = Literal["logits", "probabilities", "labels"]
Byte: TypeAlias = Annotated[int, Range(0, 255)]
DType: TypeAlias = Annotated[str, OneOf(("uint8", "uint16", "float32"))]

INPUT = "image"
"""Name of the input: uint8 [B, C, H, W], RGB or the bands of the data, as stored: the graph normalizes and pads."""


@dataclass
class GraphInfo:
    """Describes one exported graph.

    Attributes:
        task: what the graph predicts.
        output: which of the outputs a map has: "logits" float32 [B, K, H, W], "probabilities" float32 [B, K, H, W], or
            "labels" [B, H, W]; its name is this word. Instances have "scores" float32 [n], "labels" int64 [n], "boxes"
            float32 [n, 4] (x0, y0, x1, y1) and "masks" [n, H, W], where it is true, of one image. Clicks: see `inputs`.
        inputs: names of the graph's inputs, in order. A clicks_decoder takes all outputs of its encoder by their names,
            "clicks" float32 [B, P, 3] (y, x, sign: above 0 for the object; y and x below 0 for no click) and, where the
            model reads it, "previous" float32 [B, 1, H, W], the probabilities before the newest click; its output is
            "logits" or "probabilities" [B, 1, H, W].
        outputs: names of the graph's outputs, in order.
        classes: K names.
        palette: K colors (R, G, B), [] for the default ones.
        channels: C of the input.
        dtype: of the input, as numpy names it: "uint8", "uint16" or "float32".
        size: (height, width) that the graph takes alone, None for any.
        batch: images that the graph takes at once, None for any number.
        divisor: the graph pads to multiples of it by itself; a hint for choosing windows.
        resized: whether maps come back at the size of the image.
        slide: {"crop": [h, w], "stride": [h, w]} of the config's sliding window, None for whole images;
            a stride of [] spreads as few windows as cover the image evenly.
        large: the same of windows of images that do not fit into memory, {} where it is not stated.
        scores: whether maps under the output "logits" are scores of 0 or more, which take neither softmax nor sigmoid.
        mean: of each channel, in 0..255: the color that images are padded with to a fixed size, [] for 0.
        reading: how image files are read: fields of segkit.data.dataset.Reading, left out where they are the default.
        decision: of several labels a pixel: fields of segkit.runners.mask_decision.MaskDecision.
        threshold: probability above which a model of one class, or of several labels a pixel, predicts 1.
        precision: "float32", "float16" or "int8".
        segkit_version: of the writer.
        made: the command that wrote it.
        source: SHA-256 of the checkpoint, as hexadecimal digits.
    """

    task: Task
    output: Output = "logits"
    inputs: list[str] = field(default_factory=lambda: [INPUT])
    outputs: list[str] = field(default_factory=lambda: ["logits"])
    classes: list[str] = field(default_factory=list)
    palette: list[list[Byte]] = field(default_factory=list)
    channels: PositiveInt = 3
    dtype: DType = "uint8"
    size: list[PositiveInt] | None = None
    batch: PositiveInt | None = None
    divisor: Annotated[int, Range(1, 1 << 14)] = 1
    resized: bool = True
    slide: dict[str, list[PositiveInt]] | None = None
    large: dict[str, list[PositiveInt]] = field(default_factory=dict)
    scores: bool = False
    mean: list[float] = field(default_factory=list)
    reading: dict[str, Any] = field(default_factory=dict)
    decision: dict[str, Any] = field(default_factory=dict)
    threshold: float = 0.5
    precision: str = "float32"
    segkit_version: str = ""
    made: str = ""
    source: str = ""

    def text(self) -> str:
        """Returns the JSON text that a graph carries under KEY."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)})


def parse(text: str, place: str) -> GraphInfo:
    """Reads the text of a graph, which anybody may have written.

    Args:
        text: JSON, as `GraphInfo.text` writes it.
        place: file that it was read from, for messages.

    Raises:
        DataError: the text is no such JSON, or of a newer format, or one of its values cannot be right.
    """
    source, way_out = f"{place}: its entry '{KEY}'", "export the model again"
    values: Any = parse_json(text, source)
    number = values.pop("format", None) if isinstance(values, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise DataError(f"{source} is not what `segkit export` writes; {way_out}")
    if number > FORMAT:
        raise DataError(f"{place}: exported in format {number!r}, this version reads up to {FORMAT}; update segkit")
    if values.get("task") not in get_args(Task):
        raise DataError(f"{place}: task {brief(values.get('task'))} is unknown; it can be {', '.join(get_args(Task))}")
    known = {entry.name for entry in dataclasses.fields(GraphInfo)}
    hints = annotations(GraphInfo)
    values = {key: value for key, value in values.items() if key in known}
    for key, value in values.items():
        if found := fault(value, hints[key]):
            raise DataError(f"{source}: {key}{found.path} = {brief(found.value)}: must be {found.needs}; {way_out}")
    info = GraphInfo(**values)
    if misfit := _misfit(info):
        raise DataError(f"{source}: {misfit}; {way_out}")
    return info


def _misfit(info: GraphInfo) -> str:
    """What is wrong with values whose types are right; "" where nothing is."""
    if not all(len(color) == 3 for color in info.palette):
        return "palette: must be colors of three numbers each"
    if 0 < len(info.palette) < len(info.classes):
        return f"palette: {len(info.palette)} colors for {len(info.classes)} classes"
    if info.size is not None and len(info.size) != 2:
        return f"size = {brief(info.size)}: must be a height and a width"
    if info.size is not None and info.size[0] * info.size[1] > limit(MAX_PIXELS):
        return f"size = {info.size}: more than {limit(MAX_PIXELS):,} pixels"
    if info.mean and len(info.mean) != info.channels:
        return f"mean: {len(info.mean)} values for {info.channels} channels"
    for name, windows in (("slide", info.slide), ("large", info.large or None)):
        if windows is not None and not _are_windows(windows):
            return (
                f"{name} = {brief(windows)}: must be a crop and a stride that is no larger, each a height and a width"
            )
    hints, known = annotations(MaskDecision), {entry.name for entry in dataclasses.fields(MaskDecision)}
    for name, value in info.decision.items():
        if name not in known:
            return f"decision: {brief(name)} is unknown"
        if found := fault(value, hints[name]):
            return f"decision.{name}{found.path} = {brief(found.value)}: must be {found.needs}"
    return ""


def _are_windows(windows: dict[str, list[int]]) -> bool:
    crop, stride = windows.get("crop", []), windows.get("stride", [0])
    # a stride of [] is chosen for each image
    return len(crop) == 2 and len(stride) in (0, 2) and all(step <= side for step, side in zip(stride, crop))
