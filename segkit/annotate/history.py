"""The history of an image under work: what its journal says, what can be undone and made again. H W image."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from segkit.annotate.edits import EditError
from segkit.annotate.journal import Journal, read_journal
from segkit.annotate.objects import STATES, Object, Sheet, State, object_of
from segkit.annotate.project import Entry
from segkit.annotate.region import Box, around, difference_box
from segkit.files import DataError, brief


class Change(NamedTuple):
    """What an edit has changed: (before, after) of objects, None where they were not there, and of the state."""

    objects: dict[int, tuple[Object | None, Object | None]]
    states: tuple[State, State]


@dataclass
class Opened:
    """An image under work.

    Attributes:
        entry: the image.
        size: (H, W).
        journal: of the image.
        sheet: what is annotated.
        version: how many edits were made, those that were undone and undoing counted.
        done, undone: what can be undone and made again, the newest last.
        is_new: whether the journal is still to be begun.
        last: the object that was clicked last.
        key, number: of the last edit, and the object that it was about.
        lock: held while it is edited.
    """

    entry: Entry
    size: tuple[int, int]
    journal: Journal
    sheet: Sheet
    version: int = 0
    done: list[Change] = field(default_factory=list)
    undone: list[Change] = field(default_factory=list)
    is_new: bool = True
    last: int | None = None
    key: str = ""
    number: int | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)


def change_between(before: Sheet, after: Sheet) -> Change:
    """Returns what differs between two sheets."""
    numbers = {*before.objects, *after.objects}
    pairs = {number: (before.objects.get(number), after.objects.get(number)) for number in sorted(numbers)}
    return Change({number: pair for number, pair in pairs.items() if pair[0] != pair[1]}, (before.state, after.state))


def applied(sheet: Sheet, change: Change, *, is_undone: bool = False) -> Sheet:
    """Returns a sheet with a change made, or taken back."""
    side = 0 if is_undone else 1
    gone = [number for number, pair in change.objects.items() if pair[side] is None]
    items = [pair[side] for pair in change.objects.values()]
    changed = sheet.without(*gone).with_objects(*(item for item in items if item is not None))
    return replace(changed, state=change.states[side])


def changed_box(change: Change) -> Box | None:
    """Returns the box of the image that a change redraws, None of one that is not seen."""
    boxes: list[Box] = []
    for before, after in change.objects.values():
        if before is None or after is None:
            item = before or after
            boxes += [] if item is None else [item.mask.box]
            continue
        found = difference_box(before.mask, after.mask)
        boxes += [] if found is None else [found]
        if (before.order, before.visible, before.label) != (after.order, after.visible, after.label):
            boxes.append(after.mask.box)
    box = around(boxes)
    return None if box == (0, 0, 0, 0) else box


def opened_image(
    entry: Entry, size: tuple[int, int], path: Path, num_classes: int, existing: Callable[[], Sheet]
) -> Opened:
    """Reads the history of an image.

    Args:
        entry: the image.
        size: (H, W).
        path: of the journal.
        num_classes: K.
        existing: gives what the image has where nobody has annotated it yet.

    Raises:
        DataError: the journal cannot be read, or is of an image of another size.
    """
    records, length = read_journal(path)
    if not records:
        return Opened(entry, size, Journal(path), existing())
    base = records[0]
    if base.get("size") != list(size):
        raise DataError(
            f"{path}: is of an image of {brief(base.get('size'))} pixels (height, width), and {entry.path} has "
            f"{list(size)}; restore the image, or remove the journal"
        )
    opened = Opened(entry, size, Journal(path, length), Sheet(), is_new=False)
    _replay(opened, base, num_classes, f"{path}, line 1")
    opened.done, opened.version = [], 0
    for number, record in enumerate(records[1:], 2):
        _replay(opened, record, num_classes, f"{path}, line {number}")
    return opened


def _replay(opened: Opened, record: Mapping[str, Any], num_classes: int, source: str) -> None:
    """Makes the edit of a line of the journal again."""
    opened.version += 1
    opened.key, number = str(record.get("key", "")), record.get("number")
    opened.number = number if isinstance(number, int) else None
    if "undo" in record or "redo" in record:
        try:
            step(opened, is_undo="undo" in record)
        except EditError as error:
            raise DataError(f"{source}: {error}; restore the file, or remove it") from error
        return
    state, changes = STATES.get(str(record.get("state"))), record.get("changes")
    if state is None or not isinstance(changes, dict):
        raise DataError(f"{source}: no record of an edit; restore the file, or remove it")
    pairs: dict[int, tuple[Object | None, Object | None]] = {}
    for key, value in changes.items():
        name = int(key) if key.isdecimal() and len(key) < 9 else 0
        before = opened.sheet.objects.get(name)
        after = None if value is None else object_of(name, value, before, opened.size, source)
        if not name or (after is not None and not 0 <= after.label < num_classes):
            raise DataError(f"{source}: object {brief(key)} has no class of this project; see --classes")
        pairs[name] = (before, after)
    add(opened, Change(pairs, (opened.sheet.state, state)))


def add(opened: Opened, change: Change) -> None:
    """Makes a new change; what was undone before can no longer be made again."""
    opened.sheet = applied(opened.sheet, change)
    opened.done.append(change)
    opened.undone = []


def step(opened: Opened, *, is_undo: bool) -> Change:
    """Takes the newest change back, or makes the one again that was taken back last.

    Raises:
        EditError: there is none.
    """
    changes, others = (opened.done, opened.undone) if is_undo else (opened.undone, opened.done)
    if not changes:
        raise EditError(f"there is nothing to {'undo' if is_undo else 'make again'}")
    change = changes.pop()
    opened.sheet = applied(opened.sheet, change, is_undone=is_undo)
    others.append(change)
    return change


def record_of(change: Change, after: Sheet, version: int, before: Sheet | None) -> dict[str, Any]:
    """A change as a line of the journal."""
    changes: dict[str, Any] = {}
    for number, (old, new) in change.objects.items():
        changes[str(number)] = None if new is None else new.record(None if before is None else old)
    return {"changes": changes, "state": after.state, "count": len(after.objects), "version": version}
