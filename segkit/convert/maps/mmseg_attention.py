"""Key maps of mmsegmentation 1.x for attention heads, and for HRNet, whose backbone keeps the authors' names."""

from segkit.convert.keymap import KeyMap, Rule, Writes
from segkit.convert.maps.mmseg import HEADS, RESNET, URL

CASCADE: tuple[Rule, ...] = (
    (r"^decode_head\.0\.convs\.0\.", "head.coarse_conv."),
    (r"^decode_head\.0\.conv_seg\.", "head.coarse_classifier."),
    (r"^decode_head\.1\.bottleneck\.", "head.reduce."),
    (r"^decode_head\.1\.object_context_block\.bottleneck\.", "head.fuse."),
    (r"^decode_head\.1\.object_context_block\.", "head.relation."),
    (r"^decode_head\.1\.", "head."),
)
"""OCRNet: the second head reads the first head's prediction."""

BLOCKS: tuple[Rule, ...] = (
    # NonLocal, GCNet, DNL
    (r"^decode_head\.(nl|gc|dnl)_block\.", "head.block."),
    (r"^head\.block\.theta\.conv\.", "head.block.query."),
    (r"^head\.block\.phi\.conv\.", "head.block.key."),
    (r"^head\.block\.g\.conv\.", "head.block.value."),
    (r"^head\.block\.conv_out\.", "head.block.out."),
    (r"^head\.block\.conv_mask\.", "head.block.mask."),
    (r"^head\.block\.channel_add_conv\.", "head.block.transform."),
    # CCNet
    (r"^decode_head\.cca\.", "head.block."),
    (r"^head\.block\.(query|key|value)_conv\.", r"head.block.\1."),
    (r"\.gamma\.scale$", ".gamma"),
    # DANet
    (r"^decode_head\.(pam|cam)_(in|out)_conv\.", r"head.\1_\2."),
    (r"^decode_head\.(pam|cam)_conv_seg\.", r"head.\1_classifier."),
    # ISANet
    (r"^decode_head\.in_conv\.", "head.reduce."),
    (r"^decode_head\.out_conv\.", "head.fuse."),
    (r"^decode_head\.global_relation\.", "head.far."),
    (r"^decode_head\.local_relation\.", "head.near."),
    # EMANet
    (r"^decode_head\.ema_module\.", "head.attention."),
    (r"^decode_head\.ema_in_conv\.", "head.reduce."),
    (r"^decode_head\.ema_mid_conv\.conv\.", "head.before."),
    (r"^decode_head\.ema_out_conv\.", "head.after."),
)

ANN: tuple[Rule, ...] = (
    # Query and key of the second attention share their weights, stored under both names.
    (r"^decode_head\.context\.stages\.0\.key_project\.", None),
    (r"^decode_head\.(fusion|context)\.stages\.0\.", r"head.\1."),
    (r"^decode_head\.(fusion|context)\.bottleneck\.", r"head.\1_merge."),
    (r"^decode_head\.bottleneck\.", "head.reduce."),
)

PSA: tuple[Rule, ...] = (
    (r"^decode_head\.(reduce|attention)\.", r"head.collect.\1."),
    (r"^decode_head\.(reduce|attention)_p\.", r"head.distribute.\1."),
    (r"^head\.(collect|distribute)\.attention\.0\.", r"head.\1.hidden."),
    (r"^head\.(collect|distribute)\.attention\.1\.", r"head.\1.mask."),
    (r"^decode_head\.proj\.", "head.expand."),
)

PROJECTIONS: tuple[Rule, ...] = ((r"\.(query|key|value|out)(?:put)?_project\.", r".\1."),)

MAPS = {
    "mmseg_attention": KeyMap(
        "mmsegmentation, attention heads", (*RESNET, *CASCADE, *BLOCKS, *PROJECTIONS, *HEADS), URL
    ),
    "mmseg_ann": KeyMap("mmsegmentation, ANN", (*RESNET, *ANN, *PROJECTIONS, *HEADS), URL),
    "mmseg_psa": KeyMap("mmsegmentation, PSANet", (*RESNET, *PSA, *HEADS), URL),
    "mmseg_hrnet": KeyMap(
        "mmsegmentation, HRNet", (*CASCADE, *PROJECTIONS, *HEADS), URL, writes=(Writes("FCNHead", "HRNet"),)
    ),
}
