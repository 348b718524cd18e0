"""Key map of the Dynamic Routing authors' code."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/yanwei-li/DynamicRouting"

RULES: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^backbone\.stem\.stem_1\.", "backbone.stem.0."),
    *((rf"^backbone\.stem\.stem_{2 + i // 2}\.{i % 2}\.", f"backbone.stem.{i + 1}.") for i in range(4)),
    (r"^backbone\.init_layer\.", "backbone.start."),
    (r"^backbone\.all_cell_list\.", "backbone.layers."),
    (r"\.cell_ops\._ops\.0\.op\.", ".convs."),
    (r"\.res_(up|down)\.1\.", r".\1."),
    (r"\.gate_conv_beta\.0\.", ".gate.reduce."),
    (r"\.gate_conv_beta\.2\.", ".gate.score."),
    (r"^sem_seg_head\.layer_decoder_list\.", "head.laterals."),
    (r"^sem_seg_head\.predictor\.", "head.classifier."),
    (r"\.norm\.", ".bn."),
    (r"(\.stem\.[024]|\.convs\.[13]|\.up|\.down|\.reduce|\.laterals\.\d)\.weight$", r"\1.conv.weight"),
)

MAPS = {"dynamic_routing": KeyMap("Dynamic Routing", RULES, URL, score={"Cityscapes val mIoU": 76.7})}
