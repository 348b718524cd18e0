"""Pictures of errors, in colors that color-blind people tell apart. H W image, K classes.

Colors are those of Okabe and Ito (Color Universal Design, 2008).
"""

import cv2
import numpy as np

from segkit.types import Color
from segkit.viz.draw import to_rgb

RIGHT, WRONG, EXCESS = (0, 114, 178), (230, 120, 0), (204, 121, 167)
"""Colors of what is right, of what is wrong or missed, and of what was found where nothing is."""

STRIPES = 6
"""Distance in pixels between the stripes of ignored pixels."""


def error_map(image: np.ndarray, *marks: tuple[np.ndarray, Color], ignored: np.ndarray) -> np.ndarray:
    """Draws regions over a faded image.

    Args:
        image: [H,W,C], see `to_rgb`.
        marks: bool [H,W] and the color of the region; later ones win. Of `RIGHT` the image stays visible.
        ignored: bool [H,W], pixels that are not scored, which are striped.

    Returns:
        uint8 [H,W,3].
    """
    grey = cv2.cvtColor(to_rgb(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    faded = np.repeat((120 + 0.53 * grey)[..., None], 3, axis=-1)
    picture = faded.copy()
    for region, color in marks:
        opacity = 0.3 if color == RIGHT else 0.85
        picture[region] = (1 - opacity) * faded[region] + opacity * np.array(color, np.float32)
    rows, columns = np.indices(grey.shape)
    is_stripe = (rows + columns) % STRIPES < STRIPES // 3
    picture[ignored] = np.where(is_stripe, 150, 245)[ignored][:, None]
    return np.rint(picture).astype(np.uint8)


def label_errors(image: np.ndarray, truth: np.ndarray, labels: np.ndarray, ignore: int = 255) -> np.ndarray:
    """Draws which pixels of a label map are right, wrong and ignored.

    Args:
        image: [H,W,C].
        truth, labels: integer [H,W] with `ignore` in the truth; or [K,H,W] of 0, 1 and `ignore`, where a pixel is wrong
            if any class is, and ignored where all classes are.
        ignore: value of ignored pixels.

    Returns:
        uint8 [H,W,3].
    """
    is_wrong, is_ignored = (truth != labels) & (truth != ignore), truth == ignore
    if truth.ndim == 3:
        is_wrong, is_ignored = is_wrong.any(0), is_ignored.all(0)
    return error_map(image, (~is_wrong, RIGHT), (is_wrong, WRONG), ignored=is_ignored)


def mask_errors(image: np.ndarray, truth: np.ndarray, mask: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Draws what of an object was found, missed, and taken too much.

    Args:
        image: [H,W,C].
        truth, mask, ignored: bool [H,W].

    Returns:
        uint8 [H,W,3].
    """
    return error_map(image, (truth & mask, RIGHT), (truth & ~mask, WRONG), (mask & ~truth, EXCESS), ignored=ignored)


def fitted(image: np.ndarray, side: int, *, are_labels: bool = False) -> np.ndarray:
    """Shrinks an image [H,W,C] or label map [H,W] to a longer side in pixels; a smaller one stays as it is."""
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image
    shape = tuple(max(1, round(length * factor)) for length in image.shape[1::-1])
    return cv2.resize(image, shape, interpolation=cv2.INTER_NEAREST if are_labels else cv2.INTER_AREA)


def encoded(picture: np.ndarray, quality: int = 82) -> bytes:
    """Returns the content of a file of a picture, uint8 [H,W,3]: PNG of a small one, else JPEG."""
    if picture.shape[0] * picture.shape[1] <= 160 * 160:
        return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return cv2.imencode(".jpg", picture[..., ::-1], options)[1].tobytes()
