"""Videos of V7 Darwin JSON 2.0: which images are their frames, and which objects each frame shows.

Format: https://docs.v7labs.com/reference/darwin-json. An annotation has a form for some frames, those between two
keyframes among them where Darwin has written them, and ranges of the frames that it is in.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from segkit.data.files.listing import same_text
from segkit.data.formats.entries import REMEDY, Entry, entries_of, entry_of, whole_of
from segkit.files import DataError, brief

NUMBER_AT_END = re.compile(r"(\d{1,12})$", re.ASCII)
"""The frame's number in the name of an image, counted from 0: 0000012.png, clip_frame_12.png."""

MOST_FRAMES = 10_000_000
HELD = "objects of frames without a form of their own, held since the last one"
"""Words of `lost` for what a video player would move between two keyframes."""


class Video(NamedTuple):
    """What a file says of a video.

    Attributes:
        name: its file's name, without suffix.
        slot: name of its slot.
        num_frames: None where the file states none.
        height, width: as the file has them, perhaps None.
    """

    name: str
    slot: str
    num_frames: int | None
    height: object
    width: object


def video_of(entry: Entry, path: Path) -> Video | None:
    """Reads what a file says of its video.

    Args:
        entry: the file.
        path: the file, for the error.

    Returns:
        None where its first slot is something else.

    Raises:
        DataError: a number is none.
    """
    item = entry_of(entry.get("item"), f"{path}, item")
    slots = entries_of(item.get("slots"), f"{path}, item.slots")
    if not slots or slots[0].get("type") != "video":
        return None
    slot = slots[0]
    urls, count = slot.get("frame_urls"), slot.get("frame_count")
    if count is None and isinstance(urls, list) and urls:
        count = len(urls)
    frames = None if count is None else whole_of(count, "frame_count", f"{path}, item.slots")
    sources = entries_of(slot.get("source_files"), f"{path}, item.slots")
    names = [item.get("name"), *(source.get("file_name") for source in sources)]
    named = next((name for name in names if isinstance(name, str) and name), path.stem)
    name = re.split(r"[/\\]", named)[-1]
    return Video(Path(name).stem, str(slot.get("slot_name", "0")), frames, slot.get("height"), slot.get("width"))


def frame_images(video: Video, pictures: Iterable[Path], path: Path, *, is_alone: bool) -> dict[int, Path]:
    """Finds the images of the frames of a video, by the numbers at the ends of their names.

    They lie in a folder of the video's name, or have its name before the number; of a video that is alone, any images
    with numbers will do.

    Args:
        video: of video_of.
        pictures: all images.
        path: the file, for the error.
        is_alone: whether there are no labels but those of this video.

    Returns:
        {number of the frame: image}, empty where there are none.

    Raises:
        DataError: two images have one number, or the numbers are counted from 1.
    """
    numbered = [(int(found[1]), image) for image in pictures if (found := NUMBER_AT_END.search(image.stem))]
    wanted = same_text(video.name).casefold()
    in_folder = re.compile(re.escape(wanted) + r"(\.\w+)?")
    by_name = re.compile(re.escape(wanted) + r"[\W_].*", re.DOTALL)
    own = [(n, image) for n, image in numbered if in_folder.fullmatch(same_text(image.parent.name).casefold())]
    own = own or [(n, image) for n, image in numbered if by_name.fullmatch(same_text(image.stem).casefold())]
    frames: dict[int, Path] = {}
    for number, image in own or (numbered if is_alone else []):
        if number in frames:
            raise DataError(
                f"{path}: {frames[number]} and {image} may both be frame {number} of {video.name}; put the frames into "
                f"a folder {video.name}"
            )
        frames[number] = image
    if frames and video.num_frames is not None and max(frames) >= video.num_frames:
        raise DataError(
            f"{path}: {frames[max(frames)]} has the number {max(frames)}, and {video.name} has {video.num_frames} "
            f"frames, which are counted from 0; number the images from 0 to {video.num_frames - 1}"
        )
    return frames


class Track(NamedTuple):
    """An annotation of a video.

    Attributes:
        common: what holds for all of its frames.
        forms: what the frames that have a form say, by their numbers.
        numbers: those of `forms`, ascending.
        ranges: [first, last + 1] of the frames that it is in; None: those of `forms` alone.
        hidden: the same of frames in which it is hidden.
    """

    common: Entry
    forms: dict[int, Entry]
    numbers: list[int]
    ranges: list[tuple[int, int]] | None
    hidden: list[tuple[int, int]]


def tracks_of(entry: Entry, forms: Sequence[str], path: Path) -> list[Track]:
    """Reads the annotations of a video.

    Args:
        entry: the file.
        forms: keys of a frame that state a form.
        path: the file, for the error.

    Raises:
        DataError: frames or ranges are damaged.
    """
    tracks = []
    for number, annotation in enumerate(entries_of(entry.get("annotations"), f"{path}, annotations"), 1):
        source = f"{path}, annotation {number}"
        frames = entry_of(annotation.get("frames") or {}, f"{source}, frames")
        shown = {
            whole_of(key, "a frame", source): inner
            for key, value in frames.items()
            if any(form in (inner := entry_of(value, f"{source}, frame {brief(key)}")) for form in forms)
        }
        ranges = annotation.get("ranges", annotation.get("segments"))
        common = {key: value for key, value in annotation.items() if key != "frames"}
        hidden = _pairs(annotation.get("hidden_areas") or [], f"{source}, hidden_areas")
        within = None if ranges is None else _pairs(ranges, f"{source}, ranges")
        tracks.append(Track(common, shown, sorted(shown), within, hidden))
    return tracks


def annotations_at(tracks: Sequence[Track], frame: int, lost: Counter[str]) -> list[Entry]:
    """Lists the annotations of a frame, each with its form there, as those of an image.

    An annotation without a form for this frame keeps that of the last frame before it that has one.

    Args:
        tracks: of the video.
        frame: its number.
        lost: counts those that keep a form, by HELD.
    """
    found: list[Entry] = []
    for track in tracks:
        position = bisect_right(track.numbers, frame)
        is_shown = frame in track.forms if track.ranges is None else _is_within(frame, track.ranges)
        if not position or not is_shown or _is_within(frame, track.hidden):
            continue
        latest = track.numbers[position - 1]
        if latest != frame and "raster_layer" not in track.forms[latest]:
            lost[HELD] += 1
        found.append({**track.common, **track.forms[latest]})
    return found


def _is_within(frame: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= frame < end for first, end in ranges)


def _pairs(ranges: object, source: str) -> list[tuple[int, int]]:
    """Ranges of frames, [first, last + 1]; the last may be None, for the end of the video."""
    if not isinstance(ranges, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in ranges):
        raise DataError(f"{source}: {brief(ranges)}; must be a list of pairs of frames; {REMEDY}")
    return [
        (whole_of(first, "a first frame", source), MOST_FRAMES if end is None else whole_of(end, "an end", source))
        for first, end in ranges
    ]


def missing_frames(tracks: Sequence[Track], images: Iterable[int]) -> list[int]:
    """Returns the frames that have a form and no image, ascending."""
    return sorted({number for track in tracks for number in track.numbers}.difference(images))
