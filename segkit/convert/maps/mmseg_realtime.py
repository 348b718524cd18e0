"""Key maps of mmsegmentation 1.x for real-time networks: DDRNet, PIDNet, STDC, BiSeNet, CGNet, ERFNet."""

from segkit.convert.keymap import KeyMap, Rule, Writes
from segkit.convert.maps.mmseg import HEADS, URL

DUAL: tuple[Rule, ...] = (
    # Residual blocks number their convolutions from 1.
    *((rf"\.conv{i + 1}\.(conv|bn)\.", rf".convs.{i}.\1.") for i in range(3)),
    (r"\.downsample\.0\.", ".shortcut.conv."),
    (r"\.downsample\.1\.", ".shortcut.bn."),
    (r"\.downsample\.", ".shortcut."),
    *((rf"^backbone\.compression_{i + 1}\.", f"backbone.compress.{i}.") for i in range(2)),
    (r"^backbone\.spp\.", "backbone.pool."),
    # Poolings stand before the convolutions of every scale but the first.
    (r"^backbone\.pool\.scales\.(\d)\.1\.", r"backbone.pool.scales.\1."),
    (r"^backbone\.pool\.compression\.", "backbone.pool.compress."),
)

DDRNET: tuple[Rule, ...] = (
    *DUAL,
    (r"^backbone\.context_branch_layers\.", "backbone.context."),
    (r"^backbone\.spatial_branch_layers\.", "backbone.detail."),
    (r"^backbone\.down_1\.", "backbone.down.0.0."),
    (r"^backbone\.down_2\.", "backbone.down.1."),
    (r"^decode_head\.head\.0\.", "decode_head.layers.conv."),
    (r"^decode_head\.head\.1\.", "decode_head.layers.norm."),
    (r"^decode_head\.aux_head\.0\.", "aux.0.layers.conv."),
    (r"^decode_head\.aux_head\.1\.", "aux.0.layers.norm."),
    (r"^decode_head\.aux_cls_seg\.", "aux.0.classifier."),
)

PIDNET: tuple[Rule, ...] = (
    *DUAL,
    (r"^backbone\.i_branch_layers\.", "backbone.context."),
    (r"^backbone\.p_branch_layers\.", "backbone.detail."),
    (r"^backbone\.d_branch_layers\.", "backbone.boundary."),
    # Blocks that stand alone there are stages of one block here.
    (r"^backbone\.boundary\.([01])\.(convs|shortcut)\.", r"backbone.boundary.\1.0.\2."),
    *((rf"^backbone\.pag_{i + 1}\.", f"backbone.attend.{i}.") for i in range(2)),
    (r"^(backbone\.attend\.\d)\.f_p\.", r"\1.fine."),
    (r"^(backbone\.attend\.\d)\.f_i\.", r"\1.coarse."),
    *((rf"^backbone\.diff_{i + 1}\.", f"backbone.differences.{i}.") for i in range(2)),
    # Several convolutions, or one with as many groups.
    (r"^backbone\.pool\.processes\.(conv|bn)\.", r"backbone.pool.process.\1."),
    (r"^backbone\.dfm\.f_p\.", "backbone.fuse.detail."),
    (r"^backbone\.dfm\.f_i\.", "backbone.fuse.context."),
    (r"^backbone\.dfm\.", "backbone.fuse."),
    (r"^decode_head\.i_head\.", "decode_head.layers."),
    (r"^decode_head\.p_head\.", "aux.0.layers."),
    (r"^decode_head\.p_cls_seg\.", "aux.0.classifier."),
    (r"^decode_head\.d_head\.", "aux.1.layers."),
    (r"^decode_head\.d_cls_seg\.", "aux.1.predict."),
)

STDC: tuple[Rule, ...] = (
    (r"^backbone\.backbone\.stages\.", "backbone.stages."),
    (r"^(backbone\.stages\.\d\.\d)\.layers\.", r"\1.convs."),
    (r"^(backbone\.stages\.\d\.\d)\.downsample\.", r"\1.down."),
    (r"^backbone\.arms\.(\d)\.conv_layer\.", r"neck.refine.\1.conv."),
    (r"^backbone\.arms\.(\d)\.atten_conv_layer\.1\.", r"neck.refine.\1.gate."),
    (r"^backbone\.convs\.", "neck.smooth."),
    (r"^backbone\.conv_avg\.", "neck.image_pool."),
    (r"^backbone\.ffm\.conv0\.", "neck.fuse.conv."),
    (r"^backbone\.ffm\.attention\.1\.conv\.", "neck.fuse.squeeze."),
    (r"^backbone\.ffm\.attention\.2\.conv\.", "neck.fuse.excite."),
    # Constants of the loss.
    (r"^auxiliary_head\.2\.(fusion|laplacian)_kernel$", None),
    (r"^auxiliary_head\.2\.convs\.0\.", "aux.2.conv."),
    (r"^auxiliary_head\.2\.conv_seg\.", "aux.2.predict."),
)

BISENET: tuple[Rule, ...] = (
    (r"^backbone\.context_path\.backbone\.", "backbone.encoder."),
    *((rf"^backbone\.spatial_path\.layer{i + 1}\.", f"backbone.spatial.{i}.") for i in range(4)),
    (r"^backbone\.context_path\.gap_conv\.1\.", "backbone.image_pool."),
    *(
        rule
        for i, stride in enumerate((32, 16))
        for rule in (
            (rf"^backbone\.context_path\.arm{stride}\.conv_layer\.", f"backbone.refine.{i}.conv."),
            (rf"^backbone\.context_path\.arm{stride}\.atten_conv_layer\.1\.", f"backbone.refine.{i}.gate."),
            (rf"^backbone\.context_path\.conv_head{stride}\.", f"backbone.smooth.{i}."),
        )
    ),
    (r"^backbone\.ffm\.conv1\.", "backbone.fuse.conv."),
    (r"^backbone\.ffm\.conv_atten\.0\.", "backbone.fuse.gate."),
)

BISENETV2: tuple[Rule, ...] = (
    # Stages of 2, 3 and 3 convolutions, one sequence here.
    *(
        (rf"^backbone\.detail\.detail_branch\.{stage}\.{i}\.", f"backbone.detail.{before + i}.")
        for stage, before, number in ((0, 0, 2), (1, 2, 3), (2, 5, 3))
        for i in range(number)
    ),
    (r"^backbone\.semantic\.stage4_CEBlock\.gap\.1\.", "backbone.context.norm."),
    (r"^backbone\.semantic\.stage4_CEBlock\.conv_gap\.", "backbone.context.project."),
    (r"^backbone\.semantic\.stage4_CEBlock\.conv_last\.", "backbone.context.conv."),
    *((rf"^backbone\.semantic\.stage{i + 1}\.", f"backbone.semantic.{i}.") for i in range(4)),
    (r"^backbone\.semantic\.0\.conv_first\.", "backbone.semantic.0.first."),
    (r"^backbone\.semantic\.0\.fuse_last\.", "backbone.semantic.0.fuse."),
    (r"^(backbone\.semantic\.\d\.\d)\.conv1\.", r"\1.gather."),
    (r"^(backbone\.semantic\.\d\.\d)\.dwconv\.", r"\1.depthwise."),
    (r"^(backbone\.semantic\.\d\.\d)\.conv2\.0\.", r"\1.project."),
    (r"^(backbone\.semantic\.\d\.\d)\.shortcut\.0\.", r"\1.shortcut."),
    *(
        rule
        for theirs, ours in (("detail_dwconv", "detail_keep"), ("semantic_dwconv", "semantic_keep"))
        for rule in (
            (rf"^backbone\.bga\.{theirs}\.0\.depthwise_conv\.", f"backbone.aggregate.{ours}.0."),
            (rf"^backbone\.bga\.{theirs}\.0\.pointwise_conv\.conv\.", f"backbone.aggregate.{ours}.1."),
        )
    ),
    (r"^backbone\.bga\.detail_down\.0\.", "backbone.aggregate.detail_down."),
    (r"^backbone\.bga\.semantic_conv\.0\.", "backbone.aggregate.semantic_up."),
    (r"^backbone\.bga\.", "backbone.aggregate."),
)

CGNET: tuple[Rule, ...] = (
    (r"^backbone\.stem\.(\d)\.conv\.", r"backbone.stem.\1.0."),
    (r"^backbone\.stem\.(\d)\.bn\.", r"backbone.stem.\1.1.bn."),
    (r"^backbone\.stem\.(\d)\.activate\.", r"backbone.stem.\1.1.act."),
    (r"^backbone\.norm_prelu_(\d)\.0\.", r"backbone.norms.\1.bn."),
    (r"^backbone\.norm_prelu_(\d)\.1\.", r"backbone.norms.\1.act."),
    *((rf"^backbone\.level{i + 1}\.", f"backbone.stages.{i}.") for i in range(2)),
    (r"\.conv1x1\.conv\.", ".reduce.0."),
    (r"\.conv1x1\.bn\.", ".reduce.1.bn."),
    (r"\.conv1x1\.activate\.", ".reduce.1.act."),
    (r"^(backbone\.stages\.\d\.\d+)\.bn\.", r"\1.norm.bn."),
    (r"^(backbone\.stages\.\d\.\d+)\.activate\.", r"\1.norm.act."),
    (r"\.f_loc\.", ".local."),
    (r"\.f_sur\.", ".surrounding."),
    (r"^(backbone\.stages\.\d\.\d+)\.bottleneck\.", r"\1.project."),
    (r"\.f_glo\.fc\.0\.", ".squeeze."),
    (r"\.f_glo\.fc\.2\.", ".excite."),
)

ERFNET: tuple[Rule, ...] = ((r"^(backbone\.(?:en|de)coder\.\d+)\.convs_layers\.", r"\1.convs."),)

MAPS = {
    "mmseg_ddrnet": KeyMap("mmsegmentation, DDRNet", (*DDRNET, *HEADS), URL),
    "mmseg_pidnet": KeyMap("mmsegmentation, PIDNet", (*PIDNET, *HEADS), URL),
    "mmseg_stdc": KeyMap("mmsegmentation, STDC", (*STDC, *HEADS), URL),
    "mmseg_bisenet": KeyMap("mmsegmentation, BiSeNet", (*BISENET, *HEADS), URL, writes=(Writes("FCNHead", "BiSeNet"),)),
    "mmseg_bisenetv2": KeyMap("mmsegmentation, BiSeNet V2", (*BISENETV2, *HEADS), URL),
    "mmseg_cgnet": KeyMap("mmsegmentation, CGNet", (*CGNET, *HEADS), URL),
    "mmseg_erfnet": KeyMap("mmsegmentation, ERFNet", (*ERFNET, *HEADS), URL),
}
