"""Key maps of hszhao/semseg: PSPNet and PSANet on ResNets whose stem is three convolutions of 64, 64 and 128 channels.

Its networks dilate a stage from its first block on, and all their resizes align corners: model.backbone.name="resnet50"
with deep_stem=64 and contract_dilation=False, model.align_corners=True, and for PSANet model.head.expand_padding=0.
"""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/hszhao/semseg"

RESNET: tuple[Rule, ...] = (
    (r"^layer0\.7\.", "backbone.encoder.bn1."),
    (r"^layer0\.", "backbone.encoder.conv1."),
    (r"^layer(?=[1-4]\.)", "backbone.encoder.layer"),
)

CLASSIFIERS: tuple[Rule, ...] = (
    (r"^cls\.0\.", "head.fuse.conv."),
    (r"^cls\.1\.", "head.fuse.bn."),
    (r"^cls\.4\.", "head.classifier."),
    (r"^aux\.4\.", "aux.0.classifier."),
    (r"^aux\.1\.", "aux.0.convs.0.bn."),
    (r"^aux\.0\.(?=weight)", "aux.0.convs.0.conv."),
)

PSP: tuple[Rule, ...] = (
    (r"^ppm\.features\.(\d)\.1\.", r"head.pools.projects.\1.conv."),
    (r"^ppm\.features\.(\d)\.2\.", r"head.pools.projects.\1.bn."),
)

PSA: tuple[Rule, ...] = (
    (r"^psa\.(reduce|attention)_p\.", r"head.distribute.\1."),
    (r"^psa\.(reduce|attention)\.", r"head.collect.\1."),
    (r"^(head\.(?:collect|distribute)\.)attention\.3\.", r"\1mask."),
    (r"^(head\.(?:collect|distribute)\.)attention\.", r"\1hidden."),
    (r"^psa\.proj\.", "head.expand."),
    (r"^(head\.(?:(?:collect|distribute)\.(?:reduce|hidden)|expand))\.0\.", r"\1.conv."),
    (r"^(head\.(?:(?:collect|distribute)\.(?:reduce|hidden)|expand))\.1\.", r"\1.bn."),
)

MAPS = {
    # Scores: validation sets of ADE20K, VOC 2012 and Cityscapes, ResNet-50, single scale.
    "semseg_psp": KeyMap("semseg, PSPNet", (*RESNET, *CLASSIFIERS, *PSP), URL),
    "semseg_psa": KeyMap(
        "semseg, PSANet",
        (*RESNET, *CLASSIFIERS, *PSA),
        URL,
        score={"ADE20K mIoU": 42.29, "VOC mIoU": 77.25, "Cityscapes mIoU": 77.45},
    ),
}
