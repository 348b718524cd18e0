"""Key map of cvlab-yonsei/DKD: the network of STAR behind an auxiliary output, https://github.com/cvlab-yonsei/DKD.

Its classifiers are numbered from 0: the auxiliary output, the first step's classes, then each later step's. The first
two are one convolution here.
"""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.mib import StepsKeyMap
from segkit.convert.maps.star import STAR

URL = "https://github.com/cvlab-yonsei/DKD"

MOST_STEPS = 100
"""Steps whose classifiers are renamed; ADE20K one by one has 51."""

FIRST = "head.classifier.steps.0."

DKD: tuple[Rule, ...] = (
    *STAR[:-1],  # all but the classifiers
    (r"^cls\.0\.", f"{FIRST}auxiliary."),
    (r"^cls\.1\.", f"{FIRST}classes."),
    *((rf"^cls\.{i + 1}\.", f"head.classifier.steps.{i}.") for i in range(1, MOST_STEPS)),
)

JOINS = {f"{FIRST}{end}": (f"{FIRST}auxiliary.{end}", f"{FIRST}classes.{end}") for end in ("weight", "bias")}

MAPS: dict[str, KeyMap] = {
    "dkd": StepsKeyMap("DKD", DKD, URL, needs={"readout": "auxiliary"}, joins=JOINS),
}
