"""Key maps of MiB's code and of cssegmentation, after one step or several, in both directions.

The published weights are of in-place ABN, whose scale is |weight| + 1e-5; "mib_abn" and "csseg_abn" are for weights
trained with plain ABN. EXPORTS turns segkit's weights into files of those projects.
"""

import re
from dataclasses import dataclass

from torch import Tensor

from segkit.convert.keymap import Form, KeyMap, Rule
from segkit.ops.in_place_abn import in_place_scale, in_place_weight

MIB_URL = "https://github.com/fcdl94/MiB"
CSSEG_URL = "https://github.com/SegmentationBLWX/cssegmentation"

FIRST_OF_SEVERAL = "head.classifier.steps.0."
FIRST_OF_ONE = "head.classifier."


@dataclass(frozen=True)
class StepsKeyMap(KeyMap):
    """A KeyMap to networks whose classifier is one convolution after one step and a list of them after several.

    Arguments as KeyMap.
    """

    def apply(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """As KeyMap.apply, but without a step's number in the names of the only classifier."""
        renamed = KeyMap.apply(self, weights)
        if not any(re.match(r"head\.classifier\.steps\.[1-9]", name) for name in renamed):
            renamed = {name.replace(FIRST_OF_SEVERAL, FIRST_OF_ONE): value for name, value in renamed.items()}
        return renamed


MIB: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^body\.", "backbone."),
    (r"^cls\.", "head.classifier.steps."),
)

HEAD: tuple[tuple[str, str], ...] = (
    ("parallel_convs", "map_convs"),
    ("parallel_bn", "map_bn"),
    ("global_branch.0", "global_pooling_conv"),
    ("global_branch.1", "global_pooling_bn"),
    ("global_branch.3", "pool_red_conv"),
    ("out_project.0", "red_conv"),
    ("out_project.1", "red_bn"),
)
"""Layers of the head: cssegmentation's name, then MiB's, which is segkit's."""

CSSEG: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^encoder\.(conv|bn)1\.", r"backbone.mod1.\g<1>1."),
    # Stages are counted from 1 there and are modules 2 to 5 here, blocks from 0 there and from 1 here.
    *((rf"^encoder\.layer{i}\.", f"backbone.mod{i + 1}.@") for i in range(1, 5)),
    *((rf"\.@{i}\.", f".block{i + 1}.") for i in range(36)),
    (r"(block\d+)\.((?:conv|bn)\d)\.", r"\1.convs.\2."),
    (r"\.downsample\.0\.", ".proj_conv."),
    (r"\.downsample\.1\.", ".proj_bn."),
    *((rf"^decoder\.{re.escape(theirs)}\.", f"head.{ours}.") for theirs, ours in HEAD),
    (r"^convs_cls\.", "head.classifier.steps."),
)

TO_MIB: tuple[Rule, ...] = (
    (r"^backbone\.", "body."),
    (r"^head\.classifier\.steps\.", "cls."),
    (r"^head\.classifier\.", "cls.0."),
)

TO_CSSEG: tuple[Rule, ...] = (
    (r"^backbone\.mod1\.", "encoder."),
    *((rf"^backbone\.mod{i + 1}\.", f"encoder.layer{i}.") for i in range(1, 5)),
    *((rf"\.block{i + 1}\.(convs\.)?", f".{i}.") for i in range(36)),
    (r"\.proj_conv\.", ".downsample.0."),
    (r"\.proj_bn\.", ".downsample.1."),
    (r"^head\.classifier\.steps\.", "convs_cls."),
    (r"^head\.classifier\.", "convs_cls.0."),
    *((rf"^head\.{ours}\.", f"decoder.{theirs}.") for theirs, ours in HEAD),
)

FROM_IN_PLACE: Rule = (r"(bn\d?)\.weight$", r"\1.weight", in_place_scale)
TO_IN_PLACE: Rule = (r"(bn\d?)\.weight$", r"\1.weight", in_place_weight)

MAPS: dict[str, KeyMap] = {
    # RCIL's network has these names and others: its own map knows them
    "mib": StepsKeyMap("MiB, in-place ABN", (*MIB, FROM_IN_PLACE), MIB_URL, needs={"backbone.num_branches": 1}),
    "mib_abn": StepsKeyMap("MiB, ABN", MIB, MIB_URL, by_name=True),
    "csseg": StepsKeyMap("cssegmentation, in-place ABN", (*CSSEG, FROM_IN_PLACE), CSSEG_URL),
    "csseg_abn": StepsKeyMap("cssegmentation, ABN", CSSEG, CSSEG_URL, by_name=True),
}

EXPORTS: dict[str, Form] = {
    "mib": Form(KeyMap("to MiB, in-place ABN", (TO_IN_PLACE, *TO_MIB), MIB_URL), "model_state", "module."),
    "mib_abn": Form(KeyMap("to MiB, ABN", TO_MIB, MIB_URL), "model_state", "module."),
    "csseg": Form(
        KeyMap("to cssegmentation, in-place ABN", (TO_IN_PLACE, *TO_CSSEG), CSSEG_URL), "segmentor", "module."
    ),
    "csseg_abn": Form(KeyMap("to cssegmentation, ABN", TO_CSSEG, CSSEG_URL), "segmentor", "module."),
}
"""Checkpoint formats to write."""
