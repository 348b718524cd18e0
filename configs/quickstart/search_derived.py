"""Trains a network that search.py has found:

segkit train configs/quickstart/search.py
segkit train configs/quickstart/search_derived.py --cfg-options model.backbone.genotype=work_dirs/search/genotype.json

Without the option it is the network that others have found on Cityscapes.
"""

_data = dict(type="Shapes", instances=False, size=(64, 64), cache=True)

model = dict(
    num_classes=6,
    backbone=dict(type="AutoDeepLabResized", genotype=None, filters=8),
    head=dict(type="AutoDeepLabHead", channels=64, low_channels=16),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
train = dict(batch_size=8, workers=0, dataset=dict(**_data, split="train", length=400))
val = dict(batch_size=20, workers=0, dataset=dict(**_data, split="val", length=60))
optimizer = dict(type="AdamW", lr=4e-3, weight_decay=1e-2)
schedule = dict(type="OneCycle", rise=0.1)
loop = dict(steps=300, log_every=25, eval_every=0, save_every=100)
