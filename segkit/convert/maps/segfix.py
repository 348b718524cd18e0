"""Key maps of SegFix's published code: of its released files, of in-place ABN, and of plain batch normalization."""

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule
from segkit.ops.in_place_abn import in_place_scale

URL = "https://github.com/openseg-group/openseg.pytorch"

RULES: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^mask_head\.", "head.boundary."),
    (r"^dir_head\.", "head.direction."),
    (r"^(head\.\w+)\.0\.", r"\1.project.conv."),
    (r"^(head\.\w+)\.1\.(?:0\.)?", r"\1.project.bn."),
    (r"^(head\.\w+)\.2\.", r"\1.classify."),
)


def norm_scale(weight: Tensor) -> Tensor:
    """Converts the weight of a normalization, which alone has one axis, from in-place ABN; others stay."""
    return in_place_scale(weight) if weight.dim() == 1 else weight


MAPS = {
    "segfix": KeyMap(
        "SegFix, in-place ABN",
        (*RULES, (r"\.weight$", ".weight", norm_scale)),
        URL,
        unsaid=(
            "the published network reads BGR images and has leaky ReLUs in its head: set model.backbone.order='BGR', "
            "model.backbone.fuse_upsample='bilinear_corners' and model.head.negative_slope=0.01"
        ),
    ),
    "segfix_abn": KeyMap("SegFix, batch normalization", RULES, URL, by_name=True),
}
