"""How often each class has each confidence: histograms of bounded size for class-balanced thresholds. K classes."""

import numpy as np

MOST_ENTRIES = 1 << 22
"""Pairs of class and confidence that are told apart; 64 MiB."""


class ConfidenceCounts:
    """Counts the pixels of each class and confidence.

    Every float32 value has a place of its own until there are `most` pairs of class and value; then the last bits of
    the values are dropped, as few as are needed. What is counted in parts and merged equals what is counted at once.

    Args:
        num_classes: K.
        most: pairs that are told apart.
    """

    def __init__(self, num_classes: int, most: int = MOST_ENTRIES):
        self.num_classes, self.most = num_classes, most
        self.shift = 0
        self._keys = np.zeros(0, np.uint64)
        self._counts = np.zeros(0, np.uint64)

    def add(self, labels: np.ndarray, confidence: np.ndarray) -> None:
        """Counts the pixels of an image.

        Args:
            labels: uint8 [H,W]; labels from K on are left out.
            confidence: float32 [H,W], 0 to 1.
        """
        is_counted = labels < self.num_classes
        # positive float32 numbers are in the order of their bits
        bits = np.ascontiguousarray(confidence[is_counted], np.float32).view(np.uint32).astype(np.uint64)
        keys, counts = np.unique(labels[is_counted].astype(np.uint64) << 32 | bits >> self.shift, return_counts=True)
        self._join(keys, counts.astype(np.uint64))

    def merge(self, other: "ConfidenceCounts") -> None:
        """Adds what another part of the images has counted."""
        keys, counts = other._keys, other._counts
        if other.shift > self.shift:
            self._coarsen(other.shift)
        elif other.shift < self.shift:
            keys = _shifted(keys, self.shift - other.shift)
        self._join(keys, counts)

    def _join(self, keys: np.ndarray, counts: np.ndarray) -> None:
        self._keys, self._counts = _summed(np.concatenate([self._keys, keys]), np.concatenate([self._counts, counts]))
        while len(self._keys) > self.most and self.shift < 23:
            self._coarsen(self.shift + 1)

    def _coarsen(self, shift: int) -> None:
        keys = _shifted(self._keys, shift - self.shift)
        self._keys, self._counts = _summed(keys, self._counts)
        self.shift = shift

    def thresholds(self, share: float) -> np.ndarray:
        """Returns the least confidence of the floor(share n) surest of the n pixels of each class.

        Pixels as sure as the last of them are kept as well.

        Args:
            share: of each class's pixels, 0 to 1.

        Returns:
            float32 [K]; infinity for a class of which no pixel is kept.
        """
        found = np.full(self.num_classes, np.inf, np.float32)
        for label in range(self.num_classes):
            first, last = np.searchsorted(self._keys, np.array([label, label + 1], np.uint64) << np.uint64(32))
            # from the surest on; the small number undoes the rounding of a share such as .29
            reached = np.cumsum(self._counts[first:last][::-1].astype(np.int64))
            wanted = int(share * (reached[-1] if len(reached) else 0) + 1e-9)
            if wanted:
                key = self._keys[last - 1 - np.searchsorted(reached, wanted)]
                bits = (key & np.uint64(0xFFFFFFFF)) << np.uint64(self.shift)
                found[label] = np.array(bits, np.uint32).view(np.float32)
        return found

    def as_array(self) -> np.ndarray:
        """Returns all counts as uint64 [2, 1 + entries]; the first column is (dropped bits, 0)."""
        head = np.array([[self.shift], [0]], np.uint64)
        return np.concatenate([head, np.stack([self._keys, self._counts])], axis=1)

    def load_array(self, array: np.ndarray) -> None:
        """Takes back what as_array gave."""
        self.shift = int(array[0, 0])
        self._keys, self._counts = array[0, 1:].astype(np.uint64), array[1, 1:].astype(np.uint64)


def _shifted(keys: np.ndarray, bits: int) -> np.ndarray:
    """Keys whose values have lost their last bits."""
    low = np.uint64(0xFFFFFFFF)
    return (keys & ~low) | ((keys & low) >> np.uint64(bits))


def _summed(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each key once, in order, with the sum of its counts."""
    unique, place = np.unique(keys, return_inverse=True)
    totals = np.zeros(len(unique), np.uint64)
    np.add.at(totals, place, counts)
    return unique, totals
