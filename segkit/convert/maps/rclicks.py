"""Key map of RClicks' clickability network, whose encoder and head are those of SegNeXt in mmsegmentation."""

from segkit.convert.keymap import KeyMap
from segkit.convert.maps.mmseg import HEADS
from segkit.convert.maps.segnext import HAM, MSCAN

URL = "https://github.com/emb-ai/rclicks"

MAPS = {
    "rclicks": KeyMap(
        "RClicks, clickability network",
        (
            (r"^maps_transform\.5\.scale$", "guide.scale"),
            (r"^maps_transform\.", "guide.layers."),
            (r"^encoder_decoder\.decode_head\.0\.", "decode_head."),
            (r"^encoder_decoder\.", ""),
            (r"\.hamburger\.ham\.bases$", ".hamburger.factors.bases"),
            *MSCAN,
            *HAM,
            *HEADS,
        ),
        URL,
    )
}
