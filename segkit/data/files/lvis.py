"""Where the annotation files of LVIS lie."""

from pathlib import Path


def lvis_file(place: Path, split: str) -> Path:
    """<split>/lvis_<split>.json, or lvis_v1_<split>.json as it is downloaded, there or above."""
    names = [place / split / f"lvis_{split}.json", place / split / f"lvis_v1_{split}.json"]
    names += [place / f"lvis_v1_{split}.json", place / f"lvis_{split}.json"]
    return next((path for path in names if path.is_file()), names[0])
