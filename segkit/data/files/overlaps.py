"""What a check of data finds in masks of overlapping classes: one mask for each of K classes."""

import numpy as np

MOST_NAMED = 8
"""Classes named in one message; the rest is counted."""


class OverlapCounts:
    """Counts the pixels and the images of each class over many images.

    Attributes:
        num_masks: images seen.
    """

    def __init__(self) -> None:
        self.num_masks = 0
        self._pixels: list[int] = []
        self._images: list[int] = []
        self._total = self._ignored = self._shared = 0
        self._errors: list[str] = []

    def add(self, masks: np.ndarray, ignore: int, source: str) -> None:
        """Counts one image.

        Args:
            masks: integer [H,W,K] of 0, 1 and `ignore`.
            ignore: value of pixels that do not count.
            source: label file, for messages.
        """
        self.num_masks += 1
        is_yes, is_ignored = masks == 1, masks == ignore
        is_other = ~(is_yes | is_ignored | (masks == 0))
        if is_other.any():
            self._errors.append(
                f"{source}: value {masks[is_other][0]} in a mask of overlapping classes; must be 0 or 1"
            )
        missing = masks.shape[2] - len(self._pixels)
        self._pixels += [0] * missing
        self._images += [0] * missing
        for k in range(masks.shape[2]):
            count = int(is_yes[:, :, k].sum())
            self._pixels[k] += count
            self._images[k] += count > 0
        self._total += masks.shape[0] * masks.shape[1]
        self._ignored += int(is_ignored.any(axis=2).sum())
        self._shared += int((is_yes.sum(axis=2) > 1).sum())

    def lines(self, classes: tuple[str, ...]) -> list[str]:
        """Describes the masks; classes: K names."""
        shares = [
            f"{name} {100 * pixels / max(self._total, 1):.2g} % in {images} images"
            for name, pixels, images in zip(classes, self._pixels, self._images)
        ]
        return [
            f"masks: {len(self._pixels)} classes that may overlap, "
            f"{100 * self._shared / max(self._total, 1):.2g} % of the pixels are of several, "
            f"{100 * self._ignored / max(self._total, 1):.1f} % ignored",
            f"shares of {self.num_masks} images: {', '.join(shares)}",
        ]

    def warnings(self, classes: tuple[str, ...]) -> list[str]:
        """Returns what is worth a look; classes: K names."""
        absent = [name for name, images in zip(classes, self._images) if not images]
        if not any(self._pixels):
            return [f"none of {self.num_masks} masks read has a pixel of any class: check the labels where they should"]
        if not absent:
            return []
        more = f" and {len(absent) - MOST_NAMED} more" if len(absent) > MOST_NAMED else ""
        return [f"classes in none of the {self.num_masks} masks read: {', '.join(absent[:MOST_NAMED])}{more}"]

    def errors(self, classes: tuple[str, ...]) -> list[str]:
        """Returns what makes a training fail; classes: K names."""
        errors = self._errors[:3]
        if len(self._pixels) != len(classes):
            errors.append(f"masks of {len(self._pixels)} classes in a data set of {len(classes)}")
        return errors
