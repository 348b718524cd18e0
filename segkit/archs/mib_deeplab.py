"""The head of MiB, Cermelli et al., CVPR 2020, https://arxiv.org/abs/2002.00718: DeepLabv3 as In-Place ABN has it."""

from segkit.archs._mib_pyramid import MiBPyramidHead
from segkit.registry import HEADS


@HEADS.register
class MiBDeepLabHead(MiBPyramidHead):
    """DeepLabv3 head with one normalization over all ASPP branches and the image-level feature added at the end.

    The branches have no normalization of their own; each normalization is followed by a leaky ReLU of slope 0.01. In
    training the image-level feature is the mean of the whole map. In evaluation it is the mean of a window of `pooling`
    cells around each position, which is the same where the map is no larger than the window.

    State-dict keys are the published ones.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: channels of the embedding.
        hidden: channels of each branch.
        rates: dilation rates: 6, 12, 18 at output stride 16, and 12, 24, 32 at 8.
        pooling: side or (rows, columns) of the window, in cells. The published 32 suits crops of 512 pixels. None
            always takes the whole map.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """
