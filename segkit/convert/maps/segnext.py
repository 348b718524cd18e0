"""Key map of SegNeXt in mmsegmentation 1.x and in the authors' repository, whose names are the same."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.mmseg import HEADS

URL = "https://github.com/Visual-Attention-Network/SegNeXt"

MSCAN: tuple[Rule, ...] = (
    (r"^backbone\.patch_embed1\.proj\.", "backbone.encoder.stem."),
    *((rf"^backbone\.patch_embed{i + 2}\.", f"backbone.encoder.downsamples.{i}.") for i in range(3)),
    *((rf"^backbone\.block{i + 1}\.", f"backbone.encoder.stages.{i}.") for i in range(4)),
    *((rf"^backbone\.norm{i + 1}\.", f"backbone.encoder.norms.{i}.") for i in range(4)),
    (r"\.layer_scale_([12])$", r".scale\1"),
    (r"\.attn\.proj_1\.", ".attn.project_in."),
    (r"\.attn\.proj_2\.", ".attn.project_out."),
    (r"\.spatial_gating_unit\.conv0\.", ".local."),
    (r"\.spatial_gating_unit\.conv3\.", ".mix."),
    *((rf"\.spatial_gating_unit\.conv{i}_{j + 1}\.", f".strips.{i}.{j}.") for i in range(3) for j in range(2)),
    (r"\.mlp\.dwconv\.(?:dwconv\.)?", ".mlp.depthwise."),
)

HAM: tuple[Rule, ...] = (
    (r"^(decode_head\..*)\.gn\.", r"\1.bn."),
    (r"\.hamburger\.ham_in\.", ".hamburger.before."),
    (r"\.hamburger\.ham_out\.", ".hamburger.after."),
)

MAPS = {"mmseg_segnext": KeyMap("mmsegmentation, SegNeXt", (*MSCAN, *HAM, *HEADS), URL)}
