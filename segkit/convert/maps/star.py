"""Key map of jinpeng0528/STAR: DeepLabv3 on torchvision's ResNet, one classifier per step, no background output.

https://github.com/jinpeng0528/STAR
"""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.mib import StepsKeyMap
from segkit.convert.maps.smp import pool_first

URL = "https://github.com/jinpeng0528/STAR"

STAR: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^backbone\.", "backbone.encoder."),
    (r"^aspp\.project\.0\.", "head.fuse.conv.", pool_first),
    (r"^aspp\.project\.1\.", "head.fuse.bn."),
    (r"^aspp\.convs\.0\.0\.", "head.aspp.pointwise.conv."),
    (r"^aspp\.convs\.0\.1\.", "head.aspp.pointwise.bn."),
    (r"^aspp\.convs\.4\.1\.", "head.aspp.image_pool.project.conv."),
    (r"^aspp\.convs\.4\.2\.", "head.aspp.image_pool.project.bn."),
    *((rf"^aspp\.convs\.{i}\.0\.", f"head.aspp.dilated.{i - 1}.conv.") for i in (1, 2, 3)),
    *((rf"^aspp\.convs\.{i}\.1\.", f"head.aspp.dilated.{i - 1}.bn.") for i in (1, 2, 3)),
    (r"^aspp\.last_conv\.0\.", "head.convs.0.conv."),
    (r"^aspp\.last_conv\.1\.", "head.convs.0.bn."),
    (r"^cls\.", "head.classifier.steps."),
)

MAPS: dict[str, KeyMap] = {"star": StepsKeyMap("STAR", STAR, URL)}
