"""Our models under segmentation_models_pytorch's weights give its outputs at the image's size."""

import pytest
import torch

from segkit.models.layers import resize
from tests.oracles import TOLERANCE, error, fixture, image, reference_model

PAPER = (
    "num_classes=11 model.head.channels=256 model.head.fuse_kernel=1 model.head.dropout=0.0 model.align_corners=True"
)
ASPP3 = f"{PAPER} model.head.num_convs=1 model.backbone.name='resnet50' model.backbone.contract_dilation=False"
ASPP3P = (
    f"{PAPER} model.head.num_fuse_convs=1 model.head.num_convs=1 model.head.depthwise_norm=False "
    "model.backbone.output_stride=16 model.backbone.contract_dilation=False model.aux=[]"
)
PSP = (
    "num_classes=11 model.align_corners=True model.backbone.name='resnet34' model.backbone.output_stride=32 "
    "model.backbone.out_indices=[0,1,2] model.head.fuse_kernel=1 model.head.classifier_kernel=3 "
    "model.head.norm_single=False model.aux=[]"
)
SMALL, WIDE = (128, 160), (608, 624)

MODELS = {
    "unet_resnet34": ("unet_r34", "smp_unet", "num_classes=11"),
    "unet_resnet34_decoder_attention_type-scse": ("unet_r34_scse", "smp_unet", "num_classes=11"),
    "unet_resnet34_decoder_interpolation-bilinear": (
        "unet_r34",
        "smp_unet",
        "num_classes=11 model.head.upsample='bilinear'",
    ),
    "unet_resnet34_decoder_use_norm-False": ("unet_r34", "smp_unet", "num_classes=11 model.head.norm=False"),
    "unet_resnet34_encoder_depth-4_decoder_channels": (
        "unet_r34",
        "smp_unet_depth4",
        "num_classes=11 model.head.channels=[256,128,64,32] model.backbone.out_indices=[0,1,2,3]",
    ),
    "unet_resnet50": ("unet_r34", "smp_unet", "num_classes=11 model.backbone.name='resnet50'"),
    "unet_resnet34_aux_params": ("unet_r34", "smp_unet", "num_classes=11"),
    "deeplabv3_resnet50": ("deeplabv3_r50", "smp_deeplabv3", f"{ASPP3} model.aux=[]"),
    "deeplabv3_resnet50_encoder_output_stride-16": (
        "deeplabv3_r50",
        "smp_deeplabv3",
        f"{ASPP3} model.aux=[] model.backbone.output_stride=16",
    ),
    "deeplabv3plus_resnet34": ("deeplabv3plus_r50", "smp_deeplabv3plus", f"{ASPP3P} model.backbone.name='resnet34'"),
    "deeplabv3plus_resnet50": ("deeplabv3plus_r50", "smp_deeplabv3plus", f"{ASPP3P} model.backbone.name='resnet50'"),
    "pan_resnet50": ("pan_r50", "smp_pan", "num_classes=11"),
    "fpn_resnet34": ("fpn_r50", "smp_fpn", "num_classes=11 model.backbone.name='resnet34'"),
    "fpn_resnet34_decoder_merge_policy-cat": (
        "fpn_r50",
        "smp_fpn_cat",
        "num_classes=11 model.backbone.name='resnet34' model.head.concat=True",
    ),
    "pspnet_resnet34": ("pspnet_r50", "smp_pspnet", PSP),
}
"""Fixture -> config, key map, what differs from the config."""

QUICK = {"fpn_resnet34", "unet_resnet34_decoder_attention_type-scse", "deeplabv3plus_resnet34"}


@torch.inference_mode()
@pytest.mark.parametrize("model", [pytest.param(m, marks=() if m in QUICK else pytest.mark.slow) for m in MODELS])
def test_outputs_are_segmentation_models(model):
    config, key_map, options = MODELS[model]
    content, stored = fixture("smp", model)
    net = reference_model(config, key_map, content["names"], tuple(options.split()))
    inputs = {"logits": image(0, SMALL)}
    if "L_logits_32" in stored:
        inputs["L_logits"] = image(
            5, WIDE if str(WIDE[0]) in content["outputs"]["L_logits_32"]["input"] else (312, 328)
        )
    for prefix, x in inputs.items():
        logits = resize(net(x)["logits"], like=x, align_corners=net.align_corners)
        names = [name for name in stored if name.startswith(prefix)]
        assert names
        for name in names:
            difference = error(logits, stored[name], content["outputs"][name])
            assert difference < TOLERANCE, f"{name}: {difference:.1e}"
