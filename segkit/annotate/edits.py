"""Edits of an image's objects, as the page sends them: functions from one sheet to the next. H W image."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from segkit.annotate import shapes
from segkit.annotate.objects import CHOSEN, LARGEST_NUMBER, Click, Object, Prompt, Sheet
from segkit.annotate.region import Box, Region, around, minus, outside, union, within
from segkit.files import DataError, brief

MOST_POINTS = 10_000
"""Of a stroke or polygon."""

FARTHEST = 1e6
"""Largest coordinate, in pixels."""

LARGEST_BRUSH, LARGEST_DISK = 2000.0, 50
"""Radii in pixels: of the brush, and of the disk that smooths."""

LONGEST = 86_400.0
"""Seconds that an edit may say it took."""


class EditError(DataError):
    """An edit cannot be made; nothing has changed."""


class Answer(Protocol):
    """What a model says about an object."""

    def mask(self, threshold: float) -> Region:
        """Returns the pixels whose probability is above a threshold."""


class Helper(Protocol):
    """A click model that looks at one image.

    Attributes:
        has_box: whether it takes boxes.
        has_mask_start: whether clicks can correct a mask.
        threshold: above which a pixel belongs to the object.
    """

    has_box: bool
    has_mask_start: bool
    threshold: float

    def view(self, inner: Box, seen: Box | None) -> Box:
        """Chooses the part of the image that the model sees; `inner` lies in it, `seen` is what the user looks at."""

    def answer(self, prompt: Prompt) -> Answer:
        """Answers clicks and boxes."""


@dataclass(frozen=True)
class Desk:
    """What an edit may use.

    Attributes:
        size: (H, W).
        num_classes: K.
        by: who edits.
        seconds: that the edit took.
        helper: the model, None for none.
        other: gives the size and the sheet of another image.
    """

    size: tuple[int, int]
    num_classes: int
    by: str
    seconds: float
    helper: Helper | None
    other: Callable[[str], tuple[tuple[int, int], Sheet]]


class Edited(NamedTuple):
    """The sheet after an edit, and the object that it was about, None for none."""

    sheet: Sheet
    number: int | None


def edited(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    """Makes an edit.

    Args:
        sheet: as it is.
        edit: `do` and its arguments.
        desk: what it may use.

    Raises:
        EditError: it is no edit, or cannot be made; one sentence says why.
    """
    name = edit.get("do")
    function = EDITS.get(name) if isinstance(name, str) else None
    if function is None:
        raise EditError(f"do = {brief(name)}: must be one of {', '.join([*EDITS, 'undo', 'redo'])}")
    made = function(sheet, edit, desk)
    after = made.sheet
    if name != "state" and after.state != "done":
        after = replace(after, state="started")
    if made.number is not None and made.number in after.objects:
        item = after.objects[made.number]
        after = after.with_objects(replace(item, by=desk.by, seconds=item.seconds + desk.seconds))
    return Edited(after, made.number)


def number_in(values: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """Reads a number of a request.

    Raises:
        EditError: it is none, or lies outside of low..high.
    """
    value = values.get(name)
    # NaN lies in no range
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise EditError(f"{name} = {brief(value)}: must be a number from {low:g} to {high:g}")
    return float(value)


def whole_in(values: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """Reads a whole number of a request; see number_in."""
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise EditError(f"{name} = {brief(value)}: must be a whole number from {low} to {high}")
    return value


def _flag(edit: Mapping[str, Any], name: str) -> bool:
    value = edit.get(name)
    if not isinstance(value, bool):
        raise EditError(f"{name} = {brief(value)}: must be true or false")
    return value


def _points(edit: Mapping[str, Any], least: int) -> list[tuple[float, float]]:
    values = edit.get("points")
    if not isinstance(values, list) or not least <= len(values) <= MOST_POINTS:
        raise EditError(f"points: must be a list of {least} to {MOST_POINTS} points [x, y]")
    points = []
    for value in values:
        if not isinstance(value, list) or len(value) != 2:
            raise EditError(f"points: {brief(value)} is no point [x, y]")
        point = {"x": value[0], "y": value[1]}
        points.append((number_in(point, "x", -FARTHEST, FARTHEST), number_in(point, "y", -FARTHEST, FARTHEST)))
    return points


def _object(sheet: Sheet, edit: Mapping[str, Any], name: str = "object") -> Object:
    return _found(sheet, edit.get(name), name)


def _found(sheet: Sheet, number: Any, name: str) -> Object:
    found = sheet.objects.get(number) if isinstance(number, int) and not isinstance(number, bool) else None
    if found is None:
        raise EditError(f"{name} = {brief(number)}: this image has no such object; reload the page")
    return found


def _class(edit: Mapping[str, Any], desk: Desk) -> int:
    return whole_in(edit, "class", 0, desk.num_classes - 1)


def _new_number(sheet: Sheet, count: int = 1) -> int:
    if sheet.next_number + count - 1 > LARGEST_NUMBER:
        raise EditError(f"this image had {LARGEST_NUMBER} objects already, the most there may be")
    return sheet.next_number


def _seen(edit: Mapping[str, Any]) -> Box | None:
    """What the user looks at, where the page says it."""
    values = edit.get("view")
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != 4:
        raise EditError(f"view = {brief(values)}: must be [x0, y0, x1, y1]")
    x0, y0, x1, y1 = (number_in({"view": value}, "view", -FARTHEST, FARTHEST) for value in values)
    return math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)


def _by_hand(item: Object, mask: Region) -> Object:
    """The object with a mask that the model has not made."""
    return replace(item, mask=mask, prompt=None, threshold=None, source="hand", score=None)


def _helper(desk: Desk) -> Helper:
    if desk.helper is None:
        raise EditError("there is no model: draw by brush or polygon, or start with --model CHECKPOINT")
    return desk.helper


def _add(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    number = _new_number(sheet)
    return Edited(sheet.with_objects(Object(number, _class(edit, desk), order=sheet.top + 1)), number)


def _click(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    item, helper = _object(sheet, edit), _helper(desk)
    height, width = desk.size
    click = Click(number_in(edit, "x", 0, width), number_in(edit, "y", 0, height), _flag(edit, "positive"))
    if not (click.x < width and click.y < height):
        raise EditError(f"a click at x={click.x:g}, y={click.y:g} lies outside of the image of {width}x{height}")
    prompt = item.prompt
    if prompt is None or not _contains(prompt.view, click):
        start = item.mask if helper.has_mask_start and not item.mask.is_empty else None
        pixel = (int(click.x), int(click.y), int(click.x) + 1, int(click.y) + 1)
        inner = around([pixel] if start is None else [pixel, start.box])
        prompt = Prompt((), helper.view(inner, _seen(edit)), start)
    prompt = replace(prompt, clicks=(*prompt.clicks, click))
    return _asked(sheet, replace(item, num_clicks=item.num_clicks + 1), prompt, helper)


def _contains(view: Box, click: Click) -> bool:
    return view[0] <= click.x < view[2] and view[1] <= click.y < view[3]


def _box(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    item = _object(sheet, edit)
    height, width = desk.size
    x0, x1 = sorted(min(max(number_in(edit, name, -FARTHEST, FARTHEST), 0), width) for name in ("x0", "x1"))
    y0, y1 = sorted(min(max(number_in(edit, name, -FARTHEST, FARTHEST), 0), height) for name in ("y0", "y1"))
    pixels = shapes.pixels_in((x0, y0, x1, y1), desk.size)
    if pixels[0] >= pixels[2] or pixels[1] >= pixels[3]:
        raise EditError("the box covers no pixel of the image; draw a larger one")
    if not _flag(edit, "model"):
        mask = union([item.mask, shapes.rectangle((x0, y0, x1, y1), desk.size)])
        return Edited(sheet.with_objects(_by_hand(item, mask)), item.number)
    helper = _helper(desk)
    clicks = () if helper.has_box else (Click((x0 + x1) / 2, (y0 + y1) / 2, True),)
    prompt = Prompt(clicks, helper.view(pixels, _seen(edit)), None, (x0, y0, x1, y1))
    return _asked(sheet, replace(item, num_clicks=item.num_clicks + 1), prompt, helper)


def _threshold(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    item, helper = _object(sheet, edit), _helper(desk)
    if item.prompt is None:
        raise EditError("this object's mask is not the model's answer; click on it first")
    value = number_in(edit, "value", 0, 1)
    return _asked(sheet, replace(item, threshold=value), item.prompt, helper)


def _asked(sheet: Sheet, item: Object, prompt: Prompt, helper: Helper) -> Edited:
    """The object with the model's answer."""
    threshold = helper.threshold if item.threshold is None else item.threshold
    mask = helper.answer(prompt).mask(threshold)
    if prompt.box is not None and not helper.has_box and len(prompt.clicks) == 1:
        x0, y0, x1, y1 = prompt.box
        mask = within(mask, (math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)))
    if prompt.start is not None:
        mask = union([outside(prompt.start, prompt.view), mask])
    made = replace(item, mask=mask, prompt=prompt, threshold=threshold, source="model", score=None)
    return Edited(sheet.with_objects(made), item.number)


def _brush(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    radius = number_in(edit, "radius", 0.1, LARGEST_BRUSH)
    return _combined(sheet, edit, shapes.stroke(_points(edit, 1), radius, desk.size))


def _polygon(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    return _combined(sheet, edit, shapes.polygon(_points(edit, 3), desk.size))


def _combined(sheet: Sheet, edit: Mapping[str, Any], shape: Region) -> Edited:
    item = _object(sheet, edit)
    mask = union([item.mask, shape]) if _flag(edit, "add") else minus(item.mask, shape)
    return Edited(sheet.with_objects(_by_hand(item, mask)), item.number)


def _set_class(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    item = replace(_object(sheet, edit), label=_class(edit, desk))
    return Edited(sheet.with_objects(item), item.number)


def _set_order(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    item = replace(_object(sheet, edit), order=whole_in(edit, "order", -1_000_000, 1_000_000))
    return Edited(sheet.with_objects(item), item.number)


def _set_visible(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    item = replace(_object(sheet, edit), visible=_flag(edit, "visible"))
    return Edited(sheet.with_objects(item), item.number)


def _delete(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    number = _object(sheet, edit).number
    return Edited(sheet.without(number), number)


def _merge(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    numbers = edit.get("objects")
    if not isinstance(numbers, list) or not 2 <= len(numbers) <= LARGEST_NUMBER:
        raise EditError("objects: must be a list of two objects or more")
    items = [_found(sheet, number, "objects") for number in numbers]
    if len({item.number for item in items}) < len(items):
        raise EditError("objects: names one of them twice")
    first, others = items[0], items[1:]
    made = replace(
        _by_hand(first, union([item.mask for item in items])),
        num_clicks=sum(item.num_clicks for item in items),
        seconds=sum(item.seconds for item in items),
    )
    return Edited(sheet.without(*(item.number for item in others)).with_objects(made), first.number)


def _split(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    item = _object(sheet, edit)
    parts = shapes.components(item.mask)
    if len(parts) < 2:
        raise EditError("this object is in one piece; there is nothing to split")
    number = _new_number(sheet, len(parts) - 1)
    new = [
        replace(_by_hand(item, part), number=number + i, num_clicks=0, seconds=0.0, by=desk.by)
        for i, part in enumerate(parts[1:])
    ]
    return Edited(sheet.with_objects(_by_hand(item, parts[0]), *new), item.number)


def _holes(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    item = _object(sheet, edit)
    return Edited(sheet.with_objects(_by_hand(item, shapes.filled(item.mask))), item.number)


def _smooth(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    item, radius = _object(sheet, edit), whole_in(edit, "radius", 1, LARGEST_DISK)
    return Edited(sheet.with_objects(_by_hand(item, shapes.smoothed(item.mask, radius, desk.size))), item.number)


def _copy(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    name = edit.get("from")
    if not isinstance(name, str):
        raise EditError(f"from = {brief(name)}: must be the id of an image")
    size, other = desk.other(name)
    if size != desk.size:
        shown = f"{size[1]}x{size[0]}", f"{desk.size[1]}x{desk.size[0]}"
        raise EditError(f"the other image has {shown[0]} pixels and this one {shown[1]}; masks are copied at one size")
    if not other.objects:
        raise EditError("the other image has no objects to copy")
    number = _new_number(sheet, len(other.objects))
    new = [
        replace(
            _by_hand(item, item.mask), number=number + i, order=sheet.top + 1 + i, num_clicks=0, seconds=0.0, by=desk.by
        )
        for i, item in enumerate(other.layers)
    ]
    return Edited(sheet.with_objects(*new), None)


def _state(sheet: Sheet, edit: Mapping[str, Any], desk: Desk) -> Edited:
    state = edit.get("state")
    for known in CHOSEN:
        if state == known:
            return Edited(replace(sheet, state=known), None)
    raise EditError(f"state = {brief(state)}: must be one of {', '.join(CHOSEN)}")


EDITS: dict[str, Callable[[Sheet, Mapping[str, Any], Desk], Edited]] = {
    "add": _add,
    "click": _click,
    "box": _box,
    "brush": _brush,
    "polygon": _polygon,
    "threshold": _threshold,
    "class": _set_class,
    "order": _set_order,
    "visible": _set_visible,
    "delete": _delete,
    "merge": _merge,
    "split": _split,
    "holes": _holes,
    "smooth": _smooth,
    "copy": _copy,
    "state": _state,
}
"""By the word in `do`."""
