"""Key maps of SETR in mmsegmentation 1.x."""

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule, Writes
from segkit.convert.maps.mmseg import HEADS, URL
from segkit.convert.maps.mmseg_transformers import NO_PATCH_BIAS, VIT


def without_class_token(table: Tensor) -> Tensor:
    """Drops the first position of an embedding [1,1 + N,C], that of a class token which the encoder does not read."""
    return table[:, 1:]


UP: tuple[Rule, ...] = ((r"^(decode_head|auxiliary_head\.\d)\.up_convs\.(\d)\.0\.", r"\1.convs.\2."),)

MLA: tuple[Rule, ...] = (
    (r"^backbone\.cls_token$", None),
    (r"^backbone\.pos_embed$", "backbone.pos_embed", without_class_token),
    (r"^neck\.norm\.", "neck.norms."),
    (r"^neck\.mla\.channel_proj\.", "neck.laterals."),
    (r"^neck\.mla\.feat_extract\.", "neck.outputs."),
    (r"^decode_head\.up_convs\.", "head.paths."),
)

MAPS = {
    "mmseg_setr": KeyMap(
        "mmsegmentation, SETR naive and PUP",
        (*UP, *VIT, *HEADS),
        URL,
        zeros=NO_PATCH_BIAS,
        writes=(Writes("SETRHead", "vit_.*"),),
    ),
    "mmseg_setr_mla": KeyMap("mmsegmentation, SETR MLA", (*MLA, *VIT, *HEADS), URL, zeros=NO_PATCH_BIAS),
}
