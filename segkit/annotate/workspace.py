"""The images under work: what is annotated of each, its journal, and what can be undone. H W image."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from segkit.annotate.assistant import Assistant, Probabilities
from segkit.annotate.edits import LONGEST, Desk, Edited, EditError, edited, number_in, whole_in
from segkit.annotate.existing import Existing
from segkit.annotate.history import Change, Opened, add, change_between, changed_box, opened_image, record_of, step
from segkit.annotate.journal import last_record, read_journal, whole_of
from segkit.annotate.objects import STATES, Sheet, State
from segkit.annotate.pixels import TILE, Pixels, level_size, levels_of
from segkit.annotate.project import LONGEST_INITIAL, Entry, Project
from segkit.files import DataError, brief
from segkit.runners.input_images import Inputs
from segkit.serve.recent import Recent

KEPT_PIXELS = 3
"""Images whose pixels are held: this one, the next, and the one before."""

LONGEST_KEY = 64
"""Letters by which an edit is known again."""

KEPT_SHEETS = 64
"""Images whose history is held; that of others is read again from their journals."""


class Stale(Exception):
    """An edit was made on a version that is no longer the current one; version: the current one."""

    def __init__(self, version: int):
        super().__init__(f"this image was edited elsewhere since (version {version}); reload it")
        self.version = version


class Unknown(Exception):
    """There is no such image, tile or object."""


class Summary(NamedTuple):
    """What the list says of an image."""

    state: State
    objects: int
    version: int


class Workspace:
    """All images of a project. Its methods may be called by several threads.

    Args:
        project: what is annotated.
        entries: its images, in the order of the list.
        inputs: how images are read.
        assistant: a click model, None for none.
        existing: masks that are there already, None for none.
    """

    def __init__(
        self,
        project: Project,
        entries: Sequence[Entry],
        inputs: Inputs,
        assistant: Assistant | None = None,
        existing: Existing | None = None,
    ):
        self.project, self.entries = project, list(entries)
        self.assistant, self.existing = assistant, existing
        self._inputs = inputs
        self._by_id = {entry.id: entry for entry in entries}
        self._lock = threading.RLock()
        self._locks: dict[str, threading.RLock] = {}
        self._pixels: Recent[Pixels] = Recent(KEPT_PIXELS)
        self._opened: Recent[Opened] = Recent(KEPT_SHEETS)
        self._summaries = {entry.id: self._first_summary(entry) for entry in entries}
        self.is_review = existing is not None and existing.source == "draft"
        self.unwritten: set[str] = set()
        """Ids of images that were edited since the outputs were written."""

    def _first_summary(self, entry: Entry) -> Summary:
        path = self.project.journal(entry)
        record = last_record(path) if path.is_file() else None
        if record is not None:
            state = STATES.get(str(record.get("state")), "started")
            return Summary(state, whole_of(record, "count"), whole_of(record, "version"))
        if self.existing is not None and self.existing.has(entry):
            return Summary("draft", self.existing.count(entry), 0)
        return Summary("new", 0, 0)

    def entry(self, name: str) -> Entry:
        """Returns an image by its id; Unknown where there is none."""
        found = self._by_id.get(name)
        if found is None:
            raise Unknown(f"there is no image {brief(name)}; reload the list")
        return found

    def listed(self, state: str = "", search: str = "") -> list[dict[str, Any]]:
        """Returns the rows of the list.

        Args:
            state: keeps images of this state alone; "" keeps all.
            search: keeps images whose name holds this text, in any case.
        """
        text = search.casefold()
        scores = {} if self.existing is None else self.existing.scores
        rows = []
        for entry in self.entries:
            summary = self._summaries[entry.id]
            if (state and summary.state != state) or (text and text not in entry.name.casefold()):
                continue
            row = {"id": entry.id, "name": entry.name, "state": summary.state, "objects": summary.objects}
            row["score"] = scores.get(entry.name)
            rows.append(row)
        return rows

    def pixels(self, entry: Entry) -> Pixels:
        """Returns the pixels of an image; see Pixels."""
        with self._reading(entry):
            with self._lock:
                found = self._pixels.use(entry.id)
            if found is None:
                found = Pixels(entry.path, self._inputs)
                with self._lock:
                    self._pixels.keep(entry.id, found)
            return found

    def _reading(self, entry: Entry) -> threading.RLock:
        """The lock of one image, so that an image which takes seconds to read holds up no other."""
        with self._lock:
            return self._locks.setdefault(entry.id, threading.RLock())

    def work_on(self, entry: Entry) -> Opened:
        """Returns an image under work, as its journal says.

        Raises:
            DataError: image, journal or existing masks cannot be read.
        """
        with self._reading(entry):
            with self._lock:
                found = self._opened.use(entry.id)
            if found is None:
                found = self._loaded(entry, self.pixels(entry).size)
                with self._lock:
                    self._opened.keep(entry.id, found)
            return found

    def _loaded(self, entry: Entry, size: tuple[int, int]) -> Opened:
        project, existing = self.project, self.existing

        def sheet() -> Sheet:
            return Sheet() if existing is None else existing.sheet(entry, size, project)

        return opened_image(entry, size, project.journal(entry), len(project.classes), sheet)

    def described(self, opened: Opened) -> dict[str, Any]:
        """Returns what the page is told about an image."""
        entry, sheet = opened.entry, opened.sheet
        return {
            "id": entry.id,
            "name": entry.name,
            "size": list(opened.size),
            "tile": TILE,
            "levels": levels_of(opened.size),
            "version": opened.version,
            "state": sheet.state,
            "objects": [sheet.objects[number].described() for number in sorted(sheet.objects)],
            "can_undo": bool(opened.done),
            "can_redo": bool(opened.undone),
            "threshold": None if self.assistant is None else self.assistant.threshold,
            "places": [place._asdict() for place in entry.places],
        }

    def edit(self, entry: Entry, request: Mapping[str, Any]) -> dict[str, Any]:
        """Makes an edit; when this returns, the disk has it.

        Args:
            entry: the image.
            request: of the page: "version" and "edit", and where it likes "seconds" and "key": one and the same edit,
                sent again, is made once.

        Returns:
            As `described`, with "changed" and "object".

        Raises:
            Stale: the image has another version.
            EditError: the edit cannot be made.
            DataError: it cannot be written; nothing has changed.
        """
        edit = request.get("edit")
        version = whole_in(request, "version", 0, 1 << 53)
        if not isinstance(edit, dict):
            raise EditError(f"edit = {brief(edit)}: must be an object with 'do'")
        seconds = number_in(request, "seconds", 0, LONGEST) if request.get("seconds") is not None else 0.0
        key = request.get("key", "")
        if not isinstance(key, str) or len(key) > LONGEST_KEY:
            raise EditError(f"key = {brief(key)}: must be text of at most {LONGEST_KEY} letters")
        while True:
            opened = self.work_on(entry)
            with opened.lock:
                if self._opened.get(entry.id) is opened:  # else it was closed meanwhile, to hold fewer images
                    return self._answered(opened, version, edit, seconds, key)

    def _answered(
        self, opened: Opened, version: int, edit: Mapping[str, Any], seconds: float, key: str
    ) -> dict[str, Any]:
        if key and key == opened.key:  # it was made, and its answer was lost
            return self.described(opened) | {"changed": None, "object": opened.number}
        if version != opened.version:
            raise Stale(opened.version)
        if edit.get("do") in ("undo", "redo"):
            change, number = self._stepped(opened, key, is_undo=edit["do"] == "undo"), None
        else:
            change, number = self._edited(opened, edit, seconds, key)
        opened.key, opened.number = key, number
        with self._lock:
            count = len(opened.sheet.objects)
            self._summaries[opened.entry.id] = Summary(opened.sheet.state, count, opened.version)
            self.unwritten.add(opened.entry.id)
        box = changed_box(change)
        answer = {"changed": None if box is None else list(box), "object": number}
        return self.described(opened) | answer

    def _edited(self, opened: Opened, edit: Mapping[str, Any], seconds: float, key: str) -> tuple[Change, int | None]:
        made = self._made(opened, edit, seconds)
        change = change_between(opened.sheet, made.sheet)
        records = []
        if opened.is_new:
            base = change_between(Sheet(), opened.sheet)
            records.append(
                {"size": list(opened.size), "name": opened.entry.name} | record_of(base, opened.sheet, 0, None)
            )
        kept = {name: edit[name] for name in ("do", "object") if name in edit}
        record = {
            "edit": kept,
            "by": self.project.initial,
            "time": round(time.time(), 1),
            "key": key,
            "number": made.number,
        }
        records.append(record | record_of(change, made.sheet, opened.version + 1, opened.sheet))
        opened.journal.append(*records)
        opened.is_new = False
        add(opened, change)
        opened.version += 1
        if edit["do"] in ("click", "box", "threshold"):
            opened.last = made.number
        return change, made.number

    def _made(self, opened: Opened, edit: Mapping[str, Any], seconds: float) -> Edited:
        entry, helper = opened.entry, None
        if self.assistant is not None and edit.get("do") in ("click", "box", "threshold"):
            helper = self.assistant.helper(entry.id, self.pixels(entry))

        def other(name: str) -> tuple[tuple[int, int], Sheet]:
            found = self._by_id.get(name)
            if found is None:
                raise EditError(f"from = {brief(name)}: there is no such image; reload the list")
            copied = self.work_on(found)
            return copied.size, copied.sheet

        desk = Desk(opened.size, len(self.project.classes), self.project.initial, seconds, helper, other)
        return edited(opened.sheet, edit, desk)

    def _stepped(self, opened: Opened, key: str, *, is_undo: bool) -> Change:
        change = step(opened, is_undo=is_undo)
        after = opened.sheet
        try:
            said = {"state": after.state, "count": len(after.objects), "version": opened.version + 1}
            opened.journal.append({"undo" if is_undo else "redo": True, "key": key} | said)
        except DataError:
            step(opened, is_undo=not is_undo)
            raise
        opened.version += 1
        return change

    def probabilities(self, opened: Opened, number: int | None) -> Probabilities:
        """Returns the model's last answer on an object.

        Args:
            opened: the image.
            number: of the object; None for the one that was clicked last.

        Raises:
            Unknown: there is no such answer.
        """
        wanted = opened.last if number is None else number
        item = None if wanted is None else opened.sheet.objects.get(wanted)
        if item is None or item.prompt is None or self.assistant is None:
            raise Unknown("this object has no answer of the model")
        return self.assistant.answer(opened.entry.id, self.pixels(opened.entry), item.prompt)

    def check_tile(self, size: tuple[int, int], level: int, column: int, row: int) -> None:
        """Raises Unknown where an image of this size has no such tile."""
        is_level = 0 <= level < levels_of(size)
        height, width = level_size(size, level) if is_level else (0, 0)
        if not (0 <= column < -(-width // TILE) and 0 <= row < -(-height // TILE)):
            raise Unknown(f"the image has no tile in column {column}, row {row} of level {level}")

    def take_unwritten(self) -> set[str]:
        """Returns the ids of images that were edited since the last call, for the outputs."""
        with self._lock:
            waiting, self.unwritten = self.unwritten, set()
            return waiting

    def for_outputs(self, entry: Entry) -> tuple[tuple[int, int], int, Sheet]:
        """Returns size, version and sheet of an image; its pixels are read only where its journal is not open."""
        with self._lock:
            opened = self._opened.get(entry.id)
        if opened is None:
            records, _ = read_journal(self.project.journal(entry))
            size = records[0].get("size") if records else None
            if not isinstance(size, list) or not all(isinstance(side, int) and side > 0 for side in size):
                raise DataError(f"{self.project.journal(entry)}: says no size; restore the file, or remove it")
            opened = self._loaded(entry, (size[0], size[1]))
        with opened.lock:
            return opened.size, opened.version, opened.sheet

    def prepare(self, entry: Entry) -> None:
        """Reads an image, and has the model see it, before it is opened."""
        pixels = self.pixels(entry)
        if self.assistant is not None:
            self.assistant.prepare(entry.id, pixels)

    def set_initial(self, initial: object) -> None:
        """Says who annotates.

        Raises:
            EditError: it is no short text.
        """
        if not isinstance(initial, str) or len(initial) > LONGEST_INITIAL or not (initial.isprintable() or not initial):
            raise EditError(f"initial = {brief(initial)}: must be text of at most {LONGEST_INITIAL} letters")
        changed = replace(self.project, initial=initial.strip())
        changed.save()
        self.project = changed
