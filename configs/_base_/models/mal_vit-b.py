"""MAL: draws the mask in a box, on ViT-B with a stem of convolutions; it starts from MAE's weights."""

from segkit.config import ref

model = dict(type="MaskLabeler", num_classes=ref("num_classes"), size="base", pretrained=True)
losses = [dict(type="MAL")]
runner = dict(type="MaskLabelling")
