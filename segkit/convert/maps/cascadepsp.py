"""Key map of CascadePSP's authors' code."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/hkchengrex/CascadePSP"

RULES: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^feats\.", "backbone.encoder."),
    (r"^psp\.stages\.(\d)\.1\.", r"head.pyramid.pools.\1."),
    (r"^psp\.bottleneck\.", "head.pyramid.fuse."),
    *((rf"^up_{i + 1}\.conv\.", f"head.up.{i}.first.") for i in range(3)),
    *((rf"^up_{i + 1}\.conv2\.", f"head.up.{i}.second.") for i in range(3)),
    *((rf"^up_{i + 1}\.shortcut\.", f"head.up.{i}.shortcut.") for i in range(3)),
    (r"^final_28\.", "head.os8."),
    (r"^final_56\.", "head.os4."),
    (r"^final_11\.", "head.os1.0."),
    (r"^final_21\.", "head.os1.2."),
)

MAPS = {"cascadepsp": KeyMap("CascadePSP", RULES, URL)}
