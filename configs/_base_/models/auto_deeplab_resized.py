"""A network that the search of this library can find, in the form that the search trains; the default is the one that
NoamRosenberg/autodeeplab searched again. For another set model.backbone.genotype to its genotype.json."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="AutoDeepLabResized", genotype=None, filters=20),
    head=dict(type="AutoDeepLabHead", dropouts=(0.5, 0.1)),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
