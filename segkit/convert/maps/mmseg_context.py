"""Key maps of mmsegmentation 1.x for pyramid, encoding, dynamic-filter, point and small real-time networks."""

from segkit.convert.keymap import KeyMap, Rule, Writes
from segkit.convert.maps.mmseg import DEEP_RESNETS, HEADS, RESNET, RESNET_BACK, URL

CONTEXT: tuple[Rule, ...] = (
    (r"^decode_head\.fpn_bottleneck\.", "head.merge."),
    (r"^(neck|decode_head)\.lateral_convs\.", r"\1.laterals."),
    (r"^(neck|decode_head)\.fpn_convs\.", r"\1.outputs."),
    (r"^(decode_head(?:\.0)?)\.scale_heads\.", r"\1.paths."),
    (r"^decode_head\.enc_module\.encoding_project\.", "head.project."),
    (r"^decode_head\.enc_module\.encoding\.0\.", "head.encode."),
    (r"^decode_head\.enc_module\.encoding\.1\.", "head.norm."),
    (r"^decode_head\.enc_module\.fc\.0\.", "head.gate."),
    (r"^decode_head\.se_layer\.", "head.presence."),
    (r"^neck\.conv_layers\.(\d)\.0\.", r"neck.reduce.\1."),
    (r"^neck\.dilation_layers\.(\d)\.0\.", r"neck.dilated.\1."),
    (r"^decode_head\.dcm_modules\.", "head.filters."),
    (r"\.filter_gen_conv\.", ".predict."),
    (r"^decode_head\.acm_modules\.", "head.contexts."),
    (r"\.pooled_redu_conv\.", ".reduce_regions."),
    (r"\.input_redu_conv\.", ".reduce."),
    (r"\.gla\.", ".affinity."),
    (r"\.residual_conv\.", ".residual."),
    (r"\.fusion_conv\.", ".fusion."),
)

CONTEXT_BACK = ((r"^head\.merge\.", "decode_head.fpn_bottleneck."),)

POINTS: tuple[Rule, ...] = (
    *CONTEXT,
    (r"^decode_head\.0\.", "head.coarse."),
    (r"^decode_head\.1\.fcs\.(\d)\.conv\.", r"head.layers.\1."),
    (r"^decode_head\.1\.fc_seg\.", "head.point_classifier."),
)

ICNET: tuple[Rule, ...] = (
    (r"^backbone\.backbone\.stem\.7\.", "backbone.encoder.bn1."),
    (r"^backbone\.backbone\.stem\.", "backbone.encoder.conv1."),
    (r"^backbone\.backbone\.", "backbone.encoder."),
    (r"^backbone\.psp_modules\.(\d)\.1\.", r"backbone.pools.projects.\1."),
    (r"^backbone\.psp_bottleneck\.", "backbone.fuse."),
    (r"^backbone\.conv_sub1\.", "backbone.light."),
    (r"^backbone\.conv_sub2\.", "backbone.project_half."),
    (r"^backbone\.conv_sub4\.", "backbone.project_quarter."),
    (r"^neck\.cff_24\.conv_", "neck.coarse."),
    (r"^neck\.cff_12\.conv_", "neck.fine."),
)

FAST_SCNN: tuple[Rule, ...] = (
    (r"^backbone\.learning_to_downsample\.conv\.", "backbone.stem."),
    *((rf"^backbone\.learning_to_downsample\.dsconv{i}\.", f"backbone.down.{i - 1}.") for i in (1, 2)),
    *(
        (rf"^backbone\.global_feature_extractor\.bottleneck{i + 1}\.{j}\.conv\.", f"backbone.deep.{3 * i + j}.convs.")
        for i in range(3)
        for j in range(3)
    ),
    (r"^backbone\.global_feature_extractor\.ppm\.(\d)\.1\.", r"backbone.pools.projects.\1."),
    (r"^backbone\.global_feature_extractor\.out\.", "backbone.fuse."),
    (r"^backbone\.feature_fusion\.dwconv\.", "backbone.spread."),
    (r"^backbone\.feature_fusion\.conv_lower_res\.", "backbone.low."),
    (r"^backbone\.feature_fusion\.conv_higher_res\.", "backbone.high."),
)

MAPS = {
    # Semantic FPN, UPerNet, EncNet, FastFCN, DMNet and APCNet: no two of them use one name for different layers.
    "mmseg_context": KeyMap(
        "mmsegmentation, context heads",
        (*RESNET, *CONTEXT, *HEADS),
        URL,
        back=(*RESNET_BACK, *CONTEXT_BACK),
        writes=(Writes("UPerHead|SemFPNHead", DEEP_RESNETS),),
    ),
    "mmseg_pointrend": KeyMap("mmsegmentation, PointRend", (*RESNET, *POINTS, *HEADS), URL),
    "mmseg_icnet": KeyMap("mmsegmentation, ICNet", (*ICNET, *HEADS), URL),
    "mmseg_fast_scnn": KeyMap(
        "mmsegmentation, Fast-SCNN", (*FAST_SCNN, *HEADS), URL, writes=(Writes("SeparableFCNHead", "FastSCNN"),)
    ),
}
