"""Key map of clovaai/SSUL: DeepLabv3 on torchvision's ResNet with one head per step, https://github.com/clovaai/SSUL.

Its heads are numbered from 0: unknown objects, the background, the first step's classes, then each later step's.
"""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.smp import pool_first

URL = "https://github.com/clovaai/SSUL"

MOST_STEPS = 100
"""Steps whose heads are renamed; ADE20K one by one has 51."""

SSUL: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^backbone\.", "backbone.encoder."),
    (r"^classifier\.aspp\.project\.0\.", "head.fuse.conv.", pool_first),
    (r"^classifier\.aspp\.project\.1\.", "head.fuse.bn."),
    (r"^classifier\.aspp\.convs\.0\.0\.", "head.aspp.pointwise.conv."),
    (r"^classifier\.aspp\.convs\.0\.1\.", "head.aspp.pointwise.bn."),
    (r"^classifier\.aspp\.convs\.4\.1\.", "head.aspp.image_pool.project.conv."),
    (r"^classifier\.aspp\.convs\.4\.2\.", "head.aspp.image_pool.project.bn."),
    *((rf"^classifier\.aspp\.convs\.{i}\.0\.", f"head.aspp.dilated.{i - 1}.conv.") for i in (1, 2, 3)),
    *((rf"^classifier\.aspp\.convs\.{i}\.1\.", f"head.aspp.dilated.{i - 1}.bn.") for i in (1, 2, 3)),
    (r"^classifier\.head\.0\.", "head.classifier.unknown."),
    (r"^classifier\.head\.1\.", "head.classifier.background."),
    *((rf"^classifier\.head\.{i + 2}\.", f"head.classifier.steps.{i}.") for i in range(MOST_STEPS)),
)

MAPS = {"ssul": KeyMap("SSUL", SSUL, URL)}
