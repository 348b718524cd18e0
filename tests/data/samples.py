"""A made sample that holds every key, for the tests of transforms."""

import numpy as np


def rng(seed=0):
    return np.random.default_rng(seed)


def make_sample(boxes, height=40, width=50, channels=3):
    """A noise image with rectangles as instances; the mask holds 1 + the index of the topmost."""
    image = rng(1).integers(0, 256, (height, width, channels), dtype=np.uint8)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    masks = np.zeros((len(boxes), height, width), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for i, (x0, y0, x1, y1) in enumerate(boxes.astype(int)):
        masks[i, y0:y1, x0:x1] = 1
        mask[y0:y1, x0:x1] = i + 1
    return dict(
        image=image,
        mask=mask,
        boxes=boxes,
        masks=masks,
        labels=np.arange(len(boxes)),
        crowd=np.arange(len(boxes)) == 1,
        layers=np.stack([mask, 7 * mask], axis=2),
        clicks=np.array([[5, 6, 0], [-1, -1, -1], [30, 2, 1], [-1, -1, -1]], np.float32),
        meta=dict(id="made", path="made.png", size=(height, width)),
    )
