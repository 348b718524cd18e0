"""Where the annotation files of LVIS lie."""

from pathlib import Path


def lvis_file(folder: Path, split: str) -> Path:
    """Finds the annotation file of a split.

    Args:
        folder: root of the data set.
        split: "train" or "val".

    Returns:
        <split>/lvis_<split>.json, or lvis_v1_<split>.json (its name when downloaded), in the split's folder or in
        `folder` itself; the first of these names where there is no file.
    """
    names = [folder / split / f"lvis_{split}.json", folder / split / f"lvis_v1_{split}.json"]
    names += [folder / f"lvis_v1_{split}.json", folder / f"lvis_{split}.json"]
    return next((path for path in names if path.is_file()), names[0])
