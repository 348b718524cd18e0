"""Our models under segmentation_models_pytorch's weights give its outputs at the image's size."""

import pytest
import torch

from segkit.archs.manet import PositionAttention
from segkit.archs.unet_plus_plus import UNetPlusPlusHead
from segkit.models.layers import resize
from segkit.registry import LevelError
from tests.archs_table import build
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
    "unetplusplus_resnet34": ("unetplusplus_r34", "smp_unetplusplus", "num_classes=11"),
    "linknet_resnet34": ("linknet_r34", "smp_linknet", "num_classes=11"),
    # made like the others, of 0.5.1.dev0, whose MAnet is that of 0.6.0
    "manet_resnet34": ("manet_r34", "smp_manet", "num_classes=11"),
}
"""Fixture -> config, key map, what differs from the config."""

QUICK = {
    "fpn_resnet34",
    "unet_resnet34_decoder_attention_type-scse",
    "deeplabv3plus_resnet34",
    "unetplusplus_resnet34",
    "linknet_resnet34",
    "manet_resnet34",
}


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


def test_counts_are_segmentation_models():
    for model in ("unetplusplus_resnet34", "linknet_resnet34", "manet_resnet34"):
        config, _, options = MODELS[model]
        net = build(config, 11, ("model.backbone.pretrained=None",), device="meta")
        assert options == "num_classes=11"
        assert sum(p.numel() for p in net.parameters()) == fixture("smp", model)[0]["parameters"]


def test_unet_plus_plus_by_hand():
    """Two rows on maps of strides 4, 2 and 1: 0_1 reads 0_0, 1_1 and the encoder's map, in this order."""
    head = UNetPlusPlusHead((3, 2, 4), 1, (1, 2, 4), channels=(5, 6)).eval()
    assert sorted(head.blocks) == ["0_0", "0_1", "1_1"]
    read: dict[str, list[torch.Tensor]] = {}
    for name, block in head.blocks.items():
        block.register_forward_hook(lambda _m, inputs, output, name=name: read.update({name: [*inputs[:2], output]}))
    features = [torch.rand(1, 3, 7, 9), torch.rand(1, 2, 4, 5), torch.rand(1, 4, 2, 3)]
    with torch.no_grad():
        logits = head(features, (7, 9))["logits"]
    assert logits.shape == (1, 1, 7, 9)
    assert torch.equal(read["0_0"][0], features[2]) and torch.equal(read["0_0"][1], features[1])
    assert torch.equal(read["1_1"][0], features[1]) and torch.equal(read["1_1"][1], features[0])
    assert torch.equal(read["0_1"][0], read["0_0"][2])
    assert torch.equal(read["0_1"][1], torch.cat([read["1_1"][2], features[0]], dim=1))


def test_unet_plus_plus_needs_a_map_of_every_stride():
    with pytest.raises(LevelError, match=r"reads maps of all strides .* take another encoder, or UNetHead"):
        UNetPlusPlusHead((3, 4, 4), 1, (2, 8, 16), channels=(5, 5, 5))


def test_position_attention_by_hand():
    """One channel, two positions: with equal scores every weight is 1/4 of all four pairs, as published."""
    block = PositionAttention(1, 1)
    with torch.no_grad():
        for layer in (block.queries, block.keys, block.values, block.out):
            layer.weight.zero_()
            layer.bias.zero_()
        block.values.weight[0, 0, 1, 1] = block.out.weight[0, 0, 1, 1] = 1
        result = block(torch.tensor([[[[2.0, 6.0]]]]))
    assert result.flatten().tolist() == [2 + (2 + 6) / 4, 6 + (2 + 6) / 4]
