"""Rows of networks that refine a mask."""

from torch import Tensor

from tests.arch_rows.row import Row


def masked(image: Tensor) -> tuple[Tensor, Tensor]:
    """Makes the arguments of a network that refines a mask: the image, and a mask of -1 and 1."""
    return image, (image[:, :1] > 127).float() * 2 - 1


ROWS = {
    # 213.8 GMAC for three passes at 224 x 224 pixels, held exactly by tests/test_oracles_cascadepsp.py
    "cascadepsp_r50": Row(
        67_683_433,
        67_683_433 - 23_517_440,
        213.819 * (512 / 224) ** 2,
        classes=1,
        small=(
            "model.backbone.name='resnet18'",
            "model.backbone.dilations=((1,2),(1,4))",
            "model.backbone.pretrained=None",
            "model.head.channels=16",
            "model.head.up_channels=(12,8,8)",
        ),
        inputs=masked,
    )
}
