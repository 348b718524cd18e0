"""Key map of MAL's checkpoints, which Lightning wrote: the student's network, without its teacher."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/NVlabs/mask-auto-labeler"

RULES: tuple[Rule, ...] = (
    (r"^teacher\.", None),
    (r"^student\.", ""),
    (r"^roi_head\.mlp1\.", "head.kernel.0."),
    (r"^roi_head\.mlp2\.", "head.kernel.2."),
    (r"^mask_head\.convs\.(\d)\.conv\.", r"head.convs.\1."),
)

MAPS = {"mal": KeyMap("MAL", RULES, URL)}
