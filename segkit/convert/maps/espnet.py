"""Key maps of the ESPNet authors' code: the whole network, and the encoder with its own classifier (ESPNet-C)."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/sacmehta/ESPNet"

BLOCKS: tuple[Rule, ...] = (
    (r"\.c1\.conv\.", ".reduce."),
    *((rf"\.d{2**i}\.conv\.", f".branches.{i}.") for i in range(5)),
)

ENCODER: tuple[Rule, ...] = (
    *BLOCKS,
    (r"^level1\.conv\.", "backbone.stem.0."),
    (r"^level1\.", "backbone.stem.1."),
    (r"^b([123])\.", r"backbone.norms.@\1."),
    (r"^level([23])_0\.(bn|act)\.", r"backbone.downs.@\1.norm.\2."),
    (r"^level([23])_0\.", r"backbone.downs.@\1."),
    (r"^level([23])\.(\d)\.bn\.", r"backbone.stages.@\1.\2.norm."),
    (r"^level([23])\.", r"backbone.stages.@\1."),
    # Counted from 1 and from 2 there, from 0 here.
    *((rf"^backbone\.norms\.@{i}\.", f"backbone.norms.{i - 1}.") for i in (1, 2, 3)),
    *((rf"^backbone\.(downs|stages)\.@{i}\.", rf"backbone.\1.{i - 2}.") for i in (2, 3)),
)

WHOLE: tuple[Rule, ...] = (
    (r"^encoder\.classifier\.conv\.", "head.project_third."),
    (r"^level3_C\.conv\.", "head.project_second."),
    (r"^br\.", "head.norm_third."),
    (r"^conv\.conv\.", "head.merge.0."),
    (r"^conv\.", "head.merge.1."),
    (r"^up_l3\.0\.", "head.up_third."),
    (r"^combine_l2_l3\.1\.bn\.", "head.combine.1.norm."),
    (r"^combine_l2_l3\.", "head.combine."),
    (r"^up_l2\.0\.", "head.up_second."),
    (r"^up_l2\.1\.", "head.norm_second."),
    (r"^classifier\.", "head.up_first."),
    (r"^encoder\.", ""),
    *ENCODER,
)

UNSAID = (
    "its files do not say which data set they are of, Cityscapes or CamVid: this model normalizes with the mean {mean} "
    "and the standard deviation {std}, which are Cityscapes' unless model.backbone.mean and .std say otherwise"
)

MAPS = {
    "espnet": KeyMap(
        "ESPNet",
        WHOLE,
        f"{URL}/tree/master/pretrained/decoder",
        score={"Cityscapes test mIoU, alpha_3 = 8": 60.34},
        unsaid=UNSAID,
    ),
    "espnet_c": KeyMap(
        "ESPNet-C",
        ((r"^classifier\.conv\.", "head.classifier."), *ENCODER),
        f"{URL}/tree/master/pretrained/encoder",
        unsaid=UNSAID,
    ),
}
