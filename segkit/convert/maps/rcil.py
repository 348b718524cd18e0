"""Key map of zhangchbin/RCIL: MiB's network with two branches, https://github.com/zhangchbin/RCIL.

Its names are MiB's, and those of a second branch end with "_new". From the second step on the convolutions of the first
branch have a bias, into which its normalization was folded; here the normalization carries it.
"""

import re

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.mib import MIB, StepsKeyMap
from segkit.ops.in_place_abn import EPS, in_place_scale

URL = "https://github.com/zhangchbin/RCIL"

BIASES: tuple[tuple[str, str], ...] = (
    (r"(.*convs\.)conv(\d)\.bias$", r"\1bn\2."),
    (r"(.*)map_convs\.(\d)\.bias$", r"\1map_bn."),
)
"""Biases of folded convolutions, and the normalization behind each; that of the pyramid is one for all convolutions."""


class FoldedKeyMap(StepsKeyMap):
    """A StepsKeyMap that moves the biases of convolutions into the normalizations behind them.

    Arguments as StepsKeyMap.
    """

    def apply(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """As StepsKeyMap.apply, of weights by RCIL's names."""
        return super().apply(_with_shifted_norms(weights))


def _with_shifted_norms(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with the biases of convolutions added, scaled, to those of the normalizations; all in evaluation."""
    done: dict[str, Tensor] = dict(weights)
    offsets: dict[str, int] = {}
    for name in sorted(weights):
        norm = next((re.sub(pattern, target, name) for pattern, target in BIASES if re.match(pattern, name)), None)
        if norm is None or not all(f"{norm}{end}" in weights for end in ("weight", "bias", "running_var")):
            continue
        start = offsets.get(norm, 0)
        offsets[norm] = end = start + len(weights[name])
        deviation = (weights[f"{norm}running_var"][start:end] + EPS).sqrt()
        shifted = done[f"{norm}bias"].clone()
        shifted[start:end] += in_place_scale(weights[f"{norm}weight"][start:end]) / deviation * weights[name]
        done[f"{norm}bias"] = shifted
    return done


RCIL: tuple[Rule, ...] = (
    *MIB,
    (r"(convs\.conv\d|map_convs\.\d)\.bias$", None),
    (r"(bn\d?(?:_new)?)\.weight$", r"\1.weight", in_place_scale),
)

MAPS: dict[str, KeyMap] = {"rcil": FoldedKeyMap("RCIL", RCIL, URL, needs={"backbone.num_branches": 2})}
