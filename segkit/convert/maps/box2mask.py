"""Key map of the published checkpoints of Box2Mask-T, on ResNets and on Swin.

Weights of January and February 2023 were trained with one effective iteration of local consistency: to continue
training from them, give the loss iterations=1.
"""

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/LiWentomng/BoxInstSeg"


def merge_order(value: Tensor) -> Tensor:
    """Reorders a weight over the 2 x 2 cells that Swin's patch merging concatenates.

    Args:
        value: [..,4 C], ordered by channel, then by cell, row by row.

    Returns:
        [..,4 C] in timm's order: by cell, column by column, then by channel.
    """
    return value.unflatten(-1, (-1, 2, 2)).movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3).contiguous()


def unfold_order(value: Tensor) -> Tensor:
    """Takes merge_order back; value: [..,4 C] in timm's order."""
    return value.unflatten(-1, (2, 2, -1)).movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3).contiguous()


SWIN: tuple[Rule, ...] = (
    (r"\.relative_position_index$", None),  # follows from the size of the windows
    (r"^backbone\.norm(\d)\.", r"backbone.norms.\1."),
    (r"^backbone\.patch_embed\.projection\.", "backbone.encoder.patch_embed.proj."),
    (r"^backbone\.patch_embed\.", "backbone.encoder.patch_embed."),
    (r"^(backbone\.stages\.\d\.downsample\.(?:norm|reduction))\.", r"\1.", merge_order),
    # there a stage ends with patch merging, here the next one begins with it
    *((rf"^backbone\.stages\.{i}\.downsample\.", f"backbone.encoder.layers_{i + 1}.downsample.") for i in range(3)),
    (r"^backbone\.stages\.(\d)\.", r"backbone.encoder.layers_\1."),
    (r"\.attn\.w_msa\.", ".attn."),
    (r"^(backbone\..*)\.ffn\.layers\.0\.0\.", r"\1.mlp.fc1."),
    (r"^(backbone\..*)\.ffn\.layers\.1\.", r"\1.mlp.fc2."),
)

RESNET: tuple[Rule, ...] = ((r"^backbone\.(?=(conv1|bn1|layer\d)\.)", "backbone.encoder."),)

PIXELS: tuple[Rule, ...] = (
    (r"^panoptic_head\.pixel_decoder\.input_convs\.", "head.pixels.inputs."),
    (r"^panoptic_head\.pixel_decoder\.encoder\.", "head.pixels."),
    (r"^panoptic_head\.pixel_decoder\.level_encoding\.weight$", "head.pixels.level_embedding"),
    (r"^panoptic_head\.pixel_decoder\.lateral_convs\.0\.", "head.pixels.lateral."),
    (r"^panoptic_head\.pixel_decoder\.output_convs\.0\.", "head.pixels.output."),
    (r"^panoptic_head\.pixel_decoder\.mask_feature\.", "head.pixels.mask_features."),
    (r"^(head\.pixels\..*)\.gn\.", r"\1.norm."),
    (r"^(head\.pixels\..*)\.attentions\.0\.", r"\1.attention."),
    (r"\.attention\.sampling_offsets\.", ".attention.offsets."),
    (r"\.attention\.attention_weights\.", ".attention.weights."),
    (r"\.attention\.value_proj\.", ".attention.values."),
    (r"\.attention\.output_proj\.", ".attention.out."),
)

QUERIES: tuple[Rule, ...] = (
    (r"^panoptic_head\.transformer_decoder\.post_norm\.", "head.norm."),
    (r"^panoptic_head\.transformer_decoder\.", "head."),
    (r"\.attentions\.0\.attn\.", ".cross_attention."),
    (r"\.attentions\.1\.attn\.", ".self_attention."),
    (r"^(head\..*)\.ffns\.0\.layers\.0\.0\.", r"\1.feed_forward.0."),
    (r"^(head\..*)\.ffns\.0\.layers\.1\.", r"\1.feed_forward.2."),
    (r"^panoptic_head\.query_embed\.weight$", "head.query_embedding"),
    (r"^panoptic_head\.query_feat\.weight$", "head.query_features"),
    (r"^panoptic_head\.level_embed\.weight$", "head.level_embedding"),
    (r"^panoptic_head\.cls_embed\.", "head.classes."),
    (r"^panoptic_head\.mask_embed\.", "head.masks."),
    (r"^panoptic_head\.levelset_bottom\.", "head.bottom."),
)

MAPS = {"box2mask": KeyMap("Box2Mask", (*SWIN, *RESNET, *PIXELS, *QUERIES), URL)}
