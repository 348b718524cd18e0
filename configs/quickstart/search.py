"""A search of an architecture on the embedded data set: a narrow search network of three layers,
some minutes on two CPU cores.

The found network is genotype.json in the run's folder; search_derived.py trains it.
"""

_data = dict(type="Shapes", instances=False, size=(64, 64), cache=True)

model = dict(
    num_classes=6,
    backbone=dict(type="AutoDeepLabSearch", filters=2, layers=3),
    head=dict(type="AutoDeepLabSearchHead"),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
train = dict(batch_size=4, workers=0, dataset=dict(**_data, split="train", length=400))
val = dict(batch_size=20, workers=0, dataset=dict(**_data, split="val", length=60))
optimizer = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=3e-4)
schedule = dict(type="Cosine", min_lr=0.004)
loop = dict(steps=120, log_every=10, eval_every=0, save_every=40)
runner = dict(type="SearchArchitecture", start_step=40, lr=0.02)
