"""Key maps of the published checkpoints of FocalClick: HRNet with OCR as RITM's, and SegFormer, with the refiner."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.ritm import MAPS as RITM
from segkit.convert.maps.segformer import MAPS as SEGFORMER

URL = "https://github.com/alibaba/ClickSEG"

REFINER: tuple[Rule, ...] = (
    (r"^refiner\.feature_gate\.", None),  # stored and never used
    (r"^refiner\.image_conv1\.conv\.", "refiner.enter.0."),
    (r"^refiner\.image_conv1\.norm\.", "refiner.enter.1."),
    (r"^refiner\.refine_fusion\.conv\.", "refiner.project.0."),
    (r"^refiner\.refine_fusion\.norm\.", "refiner.project.1."),
    *((rf"^refiner\.image_conv{i + 2}\.", f"refiner.image_blocks.{i}.@") for i in (0, 1)),
    *((rf"^refiner\.refine_fusion{i + 2}\.", f"refiner.fuse_blocks.{i}.@") for i in (0, 1)),
    (r"@conv3x3\.", "0."),
    (r"@conv1x1\.", "1."),
    (r"@norm\.", "2."),
    (r"^refiner\.refine_pred\.", "refiner.detail."),
    (r"^refiner\.refine_trimap\.", "refiner.boundary."),
)

REFINES: dict[str, object] = {"takes": ("focus", "focus_image")}
"""Of models with a refiner: without it these maps would read the files of RITM and of SegFormer as well."""

MAPS = {
    "focalclick": KeyMap("FocalClick on HRNet", (*REFINER, *RITM["ritm"].rules), URL, needs=REFINES),
    "focalclick_segformer": KeyMap(
        "FocalClick on SegFormer",
        (
            *REFINER,
            (r"^maps_transform\.", None),  # stored and never used
            (r"^feature_extractor\.backbone\.patch_embed_side1\.", "guide."),
            (r"^feature_extractor\.", ""),
            *SEGFORMER["segformer"].rules,
        ),
        URL,
        needs=REFINES,
    ),
}
