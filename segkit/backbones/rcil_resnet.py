"""ResNet with activated batch normalization whose 3x3 convolutions have two branches, as RCIL trains it.

Zhang et al., Representation Compensation Networks for Continual Semantic Segmentation, CVPR 2022,
https://arxiv.org/abs/2203.05402, section 3.2.
"""

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segkit.backbones.mib_resnet import SLOPE, ABNBlock, ABNResNet
from segkit.models.two_branches import SUFFIX, Branches, TwoBranches, mean_of_branches
from segkit.registry import BACKBONES


class TwoBranchBlock(ABNBlock, TwoBranches):
    """A residual block each of whose 3x3 convolutions has a second branch with a normalization of its own.

    Args:
        in_channels, widths, stride, dilation: as in ABNBlock.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], *, stride: int, dilation: int):
        super().__init__(in_channels, widths, stride=stride, dilation=dilation)
        layers = dict(self.convs.named_children())
        self.doubled = tuple(
            name for name, layer in layers.items() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)
        )
        for name in self.doubled:
            conv = cast(nn.Conv2d, layers[name])
            second = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                3,
                conv.stride,  # type: ignore[arg-type]
                conv.padding,  # type: ignore[arg-type]
                conv.dilation,  # type: ignore[arg-type]
                bias=False,
            )
            self.convs.add_module(f"{name}{SUFFIX}", second)
            self.convs.add_module(f"{name.replace('conv', 'bn')}{SUFFIX}", nn.BatchNorm2d(conv.out_channels))

    def branches(self) -> list[Branches]:
        """Returns the layers of each pair of branches."""
        found = []
        for name in self.doubled:
            pairs = [name, name.replace("conv", "bn"), f"{name}{SUFFIX}", f"{name.replace('conv', 'bn')}{SUFFIX}"]
            first, first_norm, second, second_norm = (self.convs.get_submodule(path) for path in pairs)
            found.append(
                Branches(
                    [cast(nn.Conv2d, first)],
                    cast(nn.BatchNorm2d, first_norm),
                    [cast(nn.Conv2d, second)],
                    cast(nn.BatchNorm2d, second_norm),
                )
            )
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,widths[-1],h / stride,w / stride]."""
        shortcut = self.proj_bn(self.proj_conv(x)) if self.has_projection else x
        layers = dict(self.convs.named_children())
        count = sum(isinstance(layer, _BatchNorm) and not name.endswith(SUFFIX) for name, layer in layers.items())
        for i in range(1, count + 1):
            result = layers[f"bn{i}"](layers[f"conv{i}"](x))
            if f"conv{i}" in self.doubled:
                second = layers[f"bn{i}{SUFFIX}"](layers[f"conv{i}{SUFFIX}"](x))
                result = mean_of_branches(result, second, training=self.training)
            x = result + shortcut if i == count else result
            x = F.leaky_relu(x, SLOPE)
        return x


@BACKBONES.register
class TwoBranchABNResNet(ABNResNet):
    """ABNResNet whose 3x3 convolutions have a second branch (RCIL); the result is the mean of both.

    In training a third of the channels each takes the first or the second branch alone. Published weights of an
    ABNResNet start both branches. The branches are merged at a step's end by `runner.merge_branches`. Arguments as in
    ABNResNet.
    """

    block, num_branches = TwoBranchBlock, 2

    def completed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the weights with those of the first branch for a second that they lack."""
        missing = [name for name in self.state_dict() if SUFFIX in name and name not in weights]
        copies = {name: weights[name.replace(SUFFIX, "")] for name in missing if name.replace(SUFFIX, "") in weights}
        return weights | {name: value.clone() for name, value in copies.items()}
