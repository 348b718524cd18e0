"""Key map of the Gated-SCNN authors' code."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/nv-tlabs/GSCNN"

RULES: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^dsn1\.", None),  # never used
    (r"^(mod\d\..*)\.(bn\d)\.0\.", r"\1.\2."),
    (r"^mod", "backbone.mod"),
    *((rf"^dsn{module}\.", f"head.shape.sides.{i}.") for i, module in enumerate((3, 4, 7))),
    *((rf"^res{i + 1}\.(conv|bn){j + 1}\.", rf"head.shape.blocks.{i}.convs.{j}.\1.") for i in range(3) for j in (0, 1)),
    *((rf"^d{i + 1}\.", f"head.shape.reduce.{i}.") for i in range(3)),
    *((rf"^gate{i + 1}\._gate_conv\.", f"head.shape.gates.{i}.gate.") for i in range(3)),
    *((rf"^gate{i + 1}\.weight$", f"head.shape.gates.{i}.conv.weight") for i in range(3)),
    (r"^fuse\.", "head.shape.edge."),
    (r"^cw\.", "head.mix_canny."),
    (r"^aspp\.img_conv\.", "head.aspp.image_pool.project."),
    (r"^aspp\.edge_conv\.", "head.edge_branch."),
    (r"^aspp\.features\.0\.", "head.aspp.pointwise."),
    *((rf"^aspp\.features\.{i + 1}\.", f"head.aspp.dilated.{i}.") for i in range(3)),
    (r"^(head\.(?:edge_branch|aspp\.[\w.]+))\.0\.(\w+)$", r"\1.conv.\2"),
    (r"^(head\.(?:edge_branch|aspp\.[\w.]+))\.1\.(\w+)$", r"\1.bn.\2"),
    (r"^bot_fine\.", "head.low."),
    (r"^bot_aspp\.", "head.fuse."),
    (r"^final_seg\.6\.", "head.classifier."),
    *((rf"^final_seg\.{3 * i}\.", f"head.refine.{i}.conv.") for i in (0, 1)),
    *((rf"^final_seg\.{3 * i + 1}\.", f"head.refine.{i}.bn.") for i in (0, 1)),
)

MAPS = {
    "gscnn": KeyMap(
        "Gated-SCNN",
        RULES,
        URL,
        score={"Cityscapes val mIoU": 80.8},
        unsaid=(
            "the published network finds Canny's edges in the normalized image: set "
            "model.head.canny_of_normalized=True (edges of the image itself move its logits by half a deviation)"
        ),
    )
}
