"""Rows of FasterSeg."""

from tests.arch_rows.row import Row

UNUSED_STUDENT, UNUSED_TEACHER = 2 * 128**2, 2 * 192**2
"""Weights of a channel attention that the published networks hold and never call; they are not trained here."""

AUX_STUDENT, AUX_TEACHER = 4_385_689 - 3_454_643, 23_524_137 - 22_188_931

SMALL = dict(
    network="FasterSeg",
    base=2,
    stem_width=12,
    head_width=12,
    branches=[
        dict(
            operations=["conv", "skip", "conv_2x_downup", "skip", "skip"],
            strides=[8, 8, 16, 16, 32],
            widths=[6, 6, 6, 12],
        ),
        dict(operations=["conv", "conv_downup", "conv_2x"], strides=[8, 8, 16], widths=[6, 12]),
    ],
)
"""Every operation, and a skip of stride 2."""

SAMPLED = "the widths of the likeliest networks are chosen by the values of its weights"

ROWS = {
    "fasterseg_student": Row(
        3_454_643 + AUX_STUDENT - UNUSED_STUDENT,
        548_755,
        6.942621696 / 2,
        small=(f"model.backbone.genotype={SMALL}",),
    ),
    "fasterseg_teacher": Row(
        22_188_931 + AUX_TEACHER - UNUSED_TEACHER,
        1_480_531,
        26.944733184 / 2,
        small=(f"model.backbone.genotype={SMALL}",),
    ),
    "fasterseg_search": Row(
        251_804_600,
        2_941_598,
        small=(
            "model.backbone.layers=6",
            "model.backbone.base=3",
            "model.backbone.widths=[4, 12]",
            "model.backbone.student_width=4",
        ),
        sizes=((64, 96), (96, 64)),
        no_compile=SAMPLED,
        no_export=SAMPLED,
    ),
}
