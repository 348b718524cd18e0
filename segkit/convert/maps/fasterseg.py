"""Key maps of the FasterSeg authors' code."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/VITA-Group/FasterSeg"

RULES: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^stem\.0\.conv\.0\.", "backbone.stem.0.conv."),
    (r"^stem\.0\.conv\.1\.", "backbone.stem.0.bn."),
    (r"^stem\.", "backbone.stem."),
    (r"^cells\.(\d+-\d+)\._op\._op\.", r"backbone.cells.\1."),
    *((rf"^arms{stride}\.(?=\d)", f"head.ascents.{stride}.arms.") for stride in (16, 32)),
    *((rf"^refines{stride}\.(?=\d)", f"head.ascents.{stride}.refines.") for stride in (16, 32)),
    (r"^arms16\.conv\.", "head.ascents.16.arms.0.conv."),
    (r"^refines16\.conv\.", "head.ascents.16.refines.0.conv."),
    (r"^(head\.ascents\..*)\.conv\.0\.", r"\1.conv."),
    (r"^(head\.ascents\..*)\.conv\.1\.", r"\1.bn."),
    (r"^ffm\.conv_1x1\.", "head.fuse.conv."),
    (r"^ffm\.channel_attention\.1\.conv\.", "head.fuse.unused_attention.0."),
    (r"^ffm\.channel_attention\.2\.conv\.", "head.fuse.unused_attention.1."),
    (r"^heads8\.", "head."),
    (r"^heads16\.", "aux.0."),
    (r"^heads32\.", "aux.1."),
    (r"^(head|aux\.\d)\.conv_3x3\.", r"\1.conv."),
    (r"^(head|aux\.\d)\.conv_1x1\.", r"\1.classifier."),
)

NETWORKS = (("0", "teacher"), ("1", "student"))

ANSWERS = (("0", "8"), ("1", "16"), ("2", "32"), ("02", "8_32"), ("12", "16_32"))

SEARCH_RULES: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^(cells\.\d+\.\d)\._op\.", r"\1.keep."),
    (r"^(cells\.\d+\.\d)\.downsample\.", r"\1.down."),
    (r"^(cells\.\d+\.\d\.\w+)\._ops\.", r"\1.operations."),
    (r"^cells\..*\.bn\d?\.(weight|bias)$", None),  # of no width, and never used
    (r"^cells\.", "backbone.cells."),
    (r"^ratio_0_", None),  # of the one width of the teacher
    *((rf"^alpha_{i}_", f"backbone.networks.{name}.alphas.") for i, name in NETWORKS),
    *((rf"^beta_{i}_{s}$", f"backbone.networks.{name}.betas.{s - 1}") for i, name in NETWORKS for s in (1, 2)),
    (r"^ratio_1_", "backbone.networks.student.ratios."),
    *((rf"^stem\.{i}\.", f"backbone.stems.{name}.") for i, name in NETWORKS),
    *((rf"^(refine\d+)\.{i}\.", rf"head.decoders.{name}.\1.") for i, name in NETWORKS),
    *((rf"^head{j}\.{i}\.", f"head.decoders.{name}.heads.{a}.") for i, name in NETWORKS for j, a in ANSWERS),
    (r"^(head\.decoders\..*)\.conv_3x3\.", r"\1.0."),
    (r"^(head\.decoders\..*)\.conv_1x1\.", r"\1.1."),
    (r"^(head\.decoders\.\w+\.refine.*|backbone\.stems\.\w+\.0)\.conv\.0\.", r"\1.conv."),
    (r"^(head\.decoders\.\w+\.refine.*|backbone\.stems\.\w+\.0)\.conv\.1\.", r"\1.bn."),
)

MAPS = {
    "fasterseg": KeyMap("FasterSeg", RULES, URL, score={"Cityscapes val mIoU": 73.1}),
    "fasterseg_search": KeyMap("FasterSeg, the search network", SEARCH_RULES, URL),
}
