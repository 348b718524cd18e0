"""Key maps of the published checkpoints of SimpleClick, CFR-ICL's among them, and of SegNext (interactive)."""

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule

SIMPLECLICK = "https://github.com/uncbiag/SimpleClick"
SEGNEXT = "https://github.com/uncbiag/SegNext"


def without_class_entry(table: Tensor) -> Tensor:
    """Cuts the first row, of a class token that is not there, off a position table, [1,1 + N,C] to [1,N,C]."""
    return table[:, 1:]


VIT: tuple[Rule, ...] = (
    # of the pretraining; no click model runs them
    (r"^backbone\.(cls_token$|fc_norm\.|head\.)", None),
    (r"^backbone\.pos_embed$", "backbone.pos_embed", without_class_entry),
    (r"^backbone\.patch_embed\.proj\.", "backbone.patch_embed."),
    (r"^backbone\.blocks\.", "backbone.encoder.blocks."),
)

PYRAMID: tuple[Rule, ...] = tuple(
    (rf"^neck\.down_{stride}\.", f"neck.levels.{level}.") for level, stride in enumerate((4, 8, 16, 32))
)

HEAD: tuple[Rule, ...] = (
    (r"^head\.convs\.(\d+)\.conv\.", r"head.projections.\1.conv."),
    (r"^head\.fusion_conv\.conv\.", "head.fuse.conv."),
    (r"^head\.(conv_seg|seg_conv)\.", "head.classifier."),
)


def _simpleclick(doublings: int) -> tuple[Rule, ...]:
    """The rules of a head with so many doublings: every checkpoint holds two, used or not."""
    used: tuple[Rule, ...] = tuple(
        (rf"^head\.up_conv{i + 1}\.", f"head.doublings.{i}." if i < doublings else None) for i in range(2)
    )
    return ((r"^patch_embed_coords\.proj\.", "guide.conv."), *VIT, *PYRAMID, *HEAD, *used)


MAPS = {
    "simpleclick": KeyMap("SimpleClick, interactive segmentation", _simpleclick(0), SIMPLECLICK),
    "simpleclick_x2": KeyMap("SimpleClick, head.upsample = 2", _simpleclick(1), SIMPLECLICK),
    "simpleclick_x4": KeyMap("SimpleClick, head.upsample = 4", _simpleclick(2), SIMPLECLICK),
    "segnext_clicks": KeyMap(
        "SegNext, interactive segmentation",
        (
            (r"^visual_prompts_encoder\.proj\.", "guide.conv."),
            (r"^fusion_blocks\.(\d+)\.", r"fusion.blocks.\1."),
            *(*VIT, *PYRAMID, *HEAD),
        ),
        SEGNEXT,
    ),
}
