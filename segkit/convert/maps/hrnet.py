"""Key maps of the HRNet authors' segmentation networks, without and with OCR, and of HMSA, which builds on the latter.

All resizes of the HRNet authors align corners: model.backbone.fuse_upsample="bilinear_corners",
model.align_corners=True. HMSA aligns none.
"""

from dataclasses import dataclass

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/HRNet/HRNet-Semantic-Segmentation"

BIAS, MEAN = ".conv.bias", ".bn.running_mean"


@dataclass(frozen=True)
class BiasKeyMap(KeyMap):
    """A KeyMap of files whose convolutions have a bias before a normalization.

    The bias only shifts the running mean; segkit's convolutions have none there. Arguments as KeyMap.
    """

    def apply(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """As KeyMap.apply, and subtracts each such bias from the running mean of the normalization after it."""
        renamed = KeyMap.apply(self, weights)
        for name in [name for name in renamed if name.endswith(BIAS)]:
            mean = name.removesuffix(BIAS) + MEAN
            if mean in renamed and renamed[mean].shape == renamed[name].shape:
                renamed[mean] = renamed[mean] - renamed.pop(name)
        return renamed


WHOLE: tuple[Rule, ...] = ((r"^loss\.", None), (r"^model\.", ""))
"""The files hold the network as `model` and its loss as `loss`."""

PLAIN: tuple[Rule, ...] = (
    (r"^last_layer\.0\.", "head.convs.0.conv."),
    (r"^last_layer\.1\.", "head.convs.0.bn."),
    (r"^last_layer\.3\.", "head.classifier."),
)

OCR: tuple[Rule, ...] = (
    (r"^aux_head\.0\.", "head.coarse_conv.conv."),
    (r"^aux_head\.1\.", "head.coarse_conv.bn."),
    (r"^aux_head\.3\.", "head.coarse_classifier."),
    (r"^conv3x3_ocr\.0\.", "head.reduce.conv."),
    (r"^conv3x3_ocr\.1\.", "head.reduce.bn."),
    (r"^cls_head\.", "head.classifier."),
    (r"^ocr_distri_head\.conv_bn_dropout\.0\.", "head.fuse.conv."),
    (r"^ocr_distri_head\.conv_bn_dropout\.1\.0\.", "head.fuse.bn."),
    (r"^ocr_distri_head\.object_context_block\.f_pixel\.", "head.relation.query@"),
    (r"^ocr_distri_head\.object_context_block\.f_object\.", "head.relation.key@"),
    (r"^ocr_distri_head\.object_context_block\.f_down\.", "head.relation.value."),
    (r"^ocr_distri_head\.object_context_block\.f_up\.", "head.relation.out."),
    # Queries (pixels) and keys (classes) pass two convolutions, the others one.
    *((rf"^(head\.relation\.(?:query|key))@{2 * i}\.", rf"\1.{i}.conv.") for i in (0, 1)),
    *((rf"^(head\.relation\.(?:query|key))@{2 * i + 1}\.0\.", rf"\1.{i}.bn.") for i in (0, 1)),
    (r"^(head\.relation\.(?:value|out))\.0\.", r"\1.conv."),
    (r"^(head\.relation\.(?:value|out))\.1\.0\.", r"\1.bn."),
)

HMSA: tuple[Rule, ...] = (
    (r"^ocr\.", ""),
    # Its normalizations lie one level deeper, beside their ReLU, and no ReLU stands before the last convolution.
    (r"^(aux_head|conv3x3_ocr)\.1\.0\.", r"\1.1."),
    (r"^aux_head\.2\.", "aux_head.3."),
    *OCR,
    *((rf"^scale_attn\.conv{i}\.", f"attention.convs.{i}.conv.") for i in (0, 1)),
    *((rf"^scale_attn\.bn{i}\.", f"attention.convs.{i}.bn.") for i in (0, 1)),
    (r"^scale_attn\.conv2\.", "attention.score."),
)

BACKBONE: Rule = (r"^(?!head\.)", "backbone.")

MAPS = {
    "hrnet": BiasKeyMap("HRNet, the authors' code", (*WHOLE, *PLAIN, BACKBONE), URL),
    "hrnet_ocr": BiasKeyMap("HRNet with OCR, the authors' code", (*WHOLE, *OCR, BACKBONE), f"{URL}/tree/HRNet-OCR"),
    "hmsa": KeyMap(
        "HMSA, the authors' code",
        HMSA,
        "https://github.com/NVIDIA/semantic-segmentation",
        score={"Cityscapes val mIoU": 86.92},
    ),
}
