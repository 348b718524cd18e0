"""Key maps of mmsegmentation 1.x for real-time networks: DDRNet and PIDNet."""

from segkit.convert.keymap import KeyMap, Rule
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

MAPS = {
    "mmseg_ddrnet": KeyMap("mmsegmentation, DDRNet", (*DDRNET, *HEADS), URL),
    "mmseg_pidnet": KeyMap("mmsegmentation, PIDNet", (*PIDNET, *HEADS), URL),
}
