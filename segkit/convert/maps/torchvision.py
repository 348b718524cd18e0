"""Key maps of torchvision.models.segmentation: FCN and DeepLabV3 on ResNet."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.smp import pool_first

URL = "https://github.com/pytorch/vision/tree/main/references/segmentation"

FCN: tuple[Rule, ...] = (
    (r"^backbone\.", "backbone.encoder."),
    (r"^classifier\.0\.", "head.convs.0.conv."),
    (r"^classifier\.1\.", "head.convs.0.bn."),
    (r"^classifier\.4\.", "head.classifier."),
    (r"^aux_classifier\.0\.", "aux.0.convs.0.conv."),
    (r"^aux_classifier\.1\.", "aux.0.convs.0.bn."),
    (r"^aux_classifier\.4\.", "aux.0.classifier."),
)

DEEPLABV3: tuple[Rule, ...] = (
    (r"^classifier\.0\.project\.0\.", "head.fuse.conv.", pool_first),
    (r"^classifier\.0\.project\.1\.", "head.fuse.bn."),
    (r"^classifier\.0\.convs\.0\.0\.", "head.aspp.pointwise.conv."),
    (r"^classifier\.0\.convs\.0\.1\.", "head.aspp.pointwise.bn."),
    (r"^classifier\.0\.convs\.4\.1\.", "head.aspp.image_pool.project.conv."),
    (r"^classifier\.0\.convs\.4\.2\.", "head.aspp.image_pool.project.bn."),
    *((rf"^classifier\.0\.convs\.{i}\.0\.", f"head.aspp.dilated.{i - 1}.conv.") for i in (1, 2, 3)),
    *((rf"^classifier\.0\.convs\.{i}\.1\.", f"head.aspp.dilated.{i - 1}.bn.") for i in (1, 2, 3)),
    (r"^classifier\.1\.", "head.convs.0.conv."),
    (r"^classifier\.2\.", "head.convs.0.bn."),
    *FCN[:1],
    *FCN[3:],
)

MAPS = {
    # Scores: COCO val2017, the 20 VOC classes, of weights COCO_WITH_VOC_LABELS_V1.
    "torchvision_fcn": KeyMap(
        "torchvision fcn_resnet50",
        FCN,
        "https://download.pytorch.org/models/fcn_resnet50_coco-1167a1af.pth",
        score={"mIoU": 60.5},
    ),
    "torchvision_deeplabv3": KeyMap(
        "torchvision deeplabv3_resnet50",
        DEEPLABV3,
        "https://download.pytorch.org/models/deeplabv3_resnet50_coco-cd0a2569.pth",
        score={"mIoU": 66.4},
    ),
}
