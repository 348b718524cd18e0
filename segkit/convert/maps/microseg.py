"""Key map of zkzhang98/MicroSeg: the network of SSUL with heads for proposed regions.

https://github.com/zkzhang98/MicroSeg. Its heads are numbered from 0: unknown objects, the background, the first step's
classes, then each later step's; the last layer of a head for pixels has a name of its own.
"""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.ssul import MOST_STEPS, SSUL

URL = "https://github.com/zkzhang98/MicroSeg"

GROUPS = {0: "unknown", 1: "background", **{i + 2: f"steps.{i}" for i in range(MOST_STEPS)}}

MICROSEG: tuple[Rule, ...] = (
    *(rule for rule in SSUL if "classifier\\.head" not in rule[0]),
    *((rf"^classifier\.head\.{i}\.", f"head.classifier.{name}.") for i, name in GROUPS.items()),
    *((rf"^classifier\.head2\.{i}\.0\.", f"head.classifier.{name}.3.") for i, name in GROUPS.items()),
    *((rf"^classifier\.proposal_head\.{i}\.", f"head.classifier.region_{name}.") for i, name in GROUPS.items()),
)

MAPS = {"microseg": KeyMap("MicroSeg", MICROSEG, URL)}
