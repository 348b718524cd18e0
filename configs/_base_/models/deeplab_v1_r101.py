"""DeepLab v1's dilated encoder and 1x1 classifier on a ResNet-101."""

_base_ = "deeplab_v1_vgg16.py"
model = dict(
    backbone=dict(
        type="Timm", name="resnet101", output_stride=8, contract_dilation=False, norm_eval=True, pretrained=True
    ),
    head=dict(type="FCNHead", num_convs=0, dropout=0.0),
)
