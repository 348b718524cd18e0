"""Tasks of class-incremental segmentation: which classes are learned in which step, as in the published code bases.

From fcdl94/MiB come VOC 19-1, 15-5, 15-5s, 10-5-5 and ADE20K 100-50, 100-10, 50 in three orders of the classes; from
SegmentationBLWX/cssegmentation VOC 10-1, 22 shuffled orders of 15-5s and ADE20K 100-5. Classes are numbers; the
background is 0, which every task learns first and no table lists. A task is a tuple of steps.
"""

Steps = tuple[tuple[int, ...], ...]
"""Numbers of the classes of each step, without the background, in the order of the model's outputs."""

ADE_TENS_B = """
11 16 50 64 66 73 89 92 145 146
30 37 51 52 72 85 98 114 115 138
2 35 65 97 110 111 112 118 124 141
4 7 15 41 67 78 79 88 108 139
17 20 59 68 83 94 102 122 127 137
"""
"""The five later steps of 100-10b. Together they are the later step of 100-50b and the last step of 50b."""

ADE_MIDDLE_B = """
3 5 6 8 10 12 13 19 21 23 26 31 33 34 36 39 40 43 44 53 55 57 60 70 71 80 86 87 91 95 99 101 105 106 107 113 116
120 125 126 131 132 133 140 142 143 147 148 149 150
"""
"""The second step of 50b."""

ADE_TENS_C = """
3 4 7 18 39 64 73 101 113 137
47 51 55 60 62 80 116 127 140 148
22 42 49 58 59 89 91 92 108 125
2 38 53 100 104 117 130 131 141 145
15 21 72 75 88 93 103 107 122 150
"""
"""The five later steps of 100-10c. Together they are the later step of 100-50c and the last step of 50c."""

ADE_MIDDLE_C = """
1 6 8 9 14 24 25 26 29 34 35 36 40 41 44 45 48 50 54 61 63 67 68 71 78 81 84 85 90 94 95 96 97 98 99 102 106 112
114 115 118 120 121 123 124 126 135 136 139 149
"""
"""The second step of 50c."""

VOC_SHUFFLED = """
b 12 9 20 7 15 8 14 16 5 19 4 1 13 2 11 17 3 6 18 10
c 13 19 15 17 9 8 5 20 4 3 10 11 18 16 7 12 14 6 1 2
d 15 3 2 12 14 18 20 16 11 1 19 8 10 7 17 6 5 13 9 4
e 7 5 3 9 13 12 14 19 10 2 1 4 16 8 17 15 18 6 11 20
f 7 13 5 11 9 2 15 12 14 3 20 1 16 4 18 8 6 10 19 17
g 7 5 9 1 15 18 14 3 20 10 4 19 11 17 16 12 8 6 2 13
h 12 9 19 6 4 10 5 18 14 15 16 3 8 7 11 13 2 20 17 1
i 13 10 15 8 7 19 4 3 16 12 14 11 5 20 6 2 18 9 17 1
j 1 14 9 5 2 15 8 20 6 16 18 7 11 10 19 3 4 17 12 13
k 16 13 1 11 12 18 6 14 5 3 7 9 20 19 15 4 2 10 8 17
l 10 7 6 19 16 8 17 1 14 4 9 3 15 11 12 2 18 20 13 5
m 18 4 14 17 12 10 7 3 9 1 8 15 6 13 2 5 11 20 16 19
n 5 4 13 18 14 10 19 15 7 9 3 2 8 16 20 1 12 11 6 17
o 9 12 13 18 7 1 15 17 10 8 4 5 20 16 6 14 19 11 2 3
p 9 12 13 18 2 11 15 17 10 8 4 5 20 16 6 14 19 1 7 3
q 3 14 13 18 2 11 15 17 10 8 4 5 20 16 6 12 19 1 7 9
r 3 14 13 1 2 11 15 17 7 8 4 5 9 16 19 12 6 18 10 20
s 3 14 6 1 2 11 12 17 7 20 4 5 9 16 19 15 13 18 10 8
t 3 15 13 1 2 11 18 17 7 20 8 5 9 16 19 14 6 12 10 4
u 3 15 13 14 6 11 18 17 7 20 8 4 9 16 10 1 2 12 19 5
v 1 2 12 14 6 19 18 17 5 20 8 4 9 16 10 3 15 13 11 7
w 1 2 12 14 13 19 18 7 11 20 8 4 9 16 10 3 15 6 5 17
"""
"""Letter of the order, 15 classes of the first step in the order of the outputs, one class for each later step."""


def _numbers(text: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, line.split())) for line in text.strip().splitlines()]


def _flat(steps: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The classes of several steps as one, sorted."""
    return tuple(sorted(number for step in steps for number in step))


def _rows(order: tuple[int, ...] | range, *sizes: int) -> Steps:
    """Cuts an order of the classes into steps of these sizes."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    assert ends[-1] == len(order), (sizes, len(order))
    return tuple(tuple(order[end - size : end]) for end, size in zip(ends, sizes))


def _rest_first(num_classes: int, *later: tuple[int, ...]) -> Steps:
    """Puts a first step, with all other classes of 1..num_classes, before the later ones."""
    taken = set(_flat(list(later)))
    return (tuple(number for number in range(1, num_classes + 1) if number not in taken), *later)


VOC = range(1, 21)
ADE = range(1, 151)
CAMVID = range(1, 12)

TASKS: dict[str, Steps] = {
    "voc_offline": _rows(VOC, 20),
    "voc_19-1": _rows(VOC, 19, 1),
    "voc_19-1b": _rest_first(20, (5,)),
    "voc_15-5": _rows(VOC, 15, 5),
    "voc_15-5s": _rows(VOC, 15, *[1] * 5),
    "voc_10-5-5": _rows(VOC, 10, 5, 5),
    "voc_10-1": _rows(VOC, 10, *[1] * 10),
    "ade_offline": _rows(ADE, 150),
    "ade_100-50": _rows(ADE, 100, 50),
    "ade_100-10": _rows(ADE, 100, *[10] * 5),
    "ade_100-5": _rows(ADE, 100, *[5] * 10),
    "ade_50": _rows(ADE, 50, 50, 50),
    "camvid_offline": _rows(CAMVID, 11),
    "camvid_7-4": _rows(CAMVID, 7, 4),
    "camvid_7-2-2": _rows(CAMVID, 7, 2, 2),
    "camvid_7-1": _rows(CAMVID, 7, *[1] * 4),
}
for _suffix, _tens, _middle in (("b", ADE_TENS_B, ADE_MIDDLE_B), ("c", ADE_TENS_C, ADE_MIDDLE_C)):
    _steps = _numbers(_tens)
    TASKS[f"ade_100-10{_suffix}"] = _rest_first(150, *_steps)
    TASKS[f"ade_100-50{_suffix}"] = _rest_first(150, _flat(_steps))
    TASKS[f"ade_50{_suffix}"] = _rest_first(150, _flat(_numbers(_middle)), _flat(_steps))
for _line in VOC_SHUFFLED.strip().splitlines():
    _letter, *_order = _line.split()
    TASKS[f"voc_15-5s_{_letter}"] = _rows(tuple(map(int, _order)), 15, *[1] * 5)

ALIASES = {"voc_15-1": "voc_15-5s", "ade_50-50": "ade_50", "ade_50-50-50": "ade_50"}
"""Names of tasks in the papers where the published code has another name."""
