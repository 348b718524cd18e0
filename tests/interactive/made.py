"""A made sample of objects to click on."""

import numpy as np

from segkit.types import ClickObject


def make_sample(layers, objects, ignored=()):
    """layers: list of [H,W] labels; objects: id -> (layer, value, parent, children) or shorter."""
    layers = np.stack(layers, axis=2).astype(np.uint8)
    height, width = layers.shape[:2]
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    objects = {number: ClickObject(*one) for number, one in objects.items()}
    return dict(image=image, layers=layers, objects=objects, ignored=list(ignored), meta=dict(id="made", path="made"))


def box(size, y0, x0, y1, x1, value=1):
    """[H,W] of `value` in the rectangle, 0 elsewhere."""
    labels = np.zeros(size, np.uint8)
    labels[y0:y1, x0:x1] = value
    return labels
