"""How much of each class the pseudo labels keep."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segkit.data.files.pseudo_manifest import Entry


def summary(entries: Sequence[Entry], classes: Sequence[str], thresholds: np.ndarray) -> dict[str, Any]:
    """Returns the shares that are kept, in percent, in all and of each class, ready for JSON.

    Args:
        entries: of all images.
        classes: K names.
        thresholds: float [K], the least confidences; infinite where nothing of a class is kept.
    """
    pixels = np.sum([entry.pixels for entry in entries], axis=0)
    kept = np.sum([entry.kept for entry in entries], axis=0)
    rows = {
        name: {
            "pixels": int(n),
            "kept": round(100 * int(k) / int(n), 3) if n else None,
            "threshold": round(float(t), 6) if np.isfinite(t) else None,
        }
        for name, n, k, t in zip(classes, pixels, kept, thresholds)
    }
    share = round(100 * int(kept.sum()) / max(int(pixels.sum()), 1), 3)
    return {"images": len(entries), "kept": share, "per_class": rows}


def table(content: dict[str, Any]) -> str:
    """Formats a summary as text: a row for each class."""
    rows = [f"{'class':<16}{'pixels':>14}{'kept %':>9}{'from':>9}"]
    for name, row in content["per_class"].items():
        kept = "-" if row["kept"] is None else f"{row['kept']:.1f}"
        least = "-" if row["threshold"] is None else f"{row['threshold']:.4f}"
        rows.append(f"{name[:15]:<16}{row['pixels']:>14,}{kept:>9}{least:>9}")
    return "\n".join([*rows, f"{content['images']} images, {content['kept']:.1f} % of the pixels kept"])
