"""CascadePSP on ResNet-50 as published: 45,000 steps of Adam on crops of 224, the rate falling at a half and 5/6.

`segkit convert` takes the authors' file with this config; the refiner `CascadePSP` takes the result.
"""

_base_ = ["../_base_/models/cascadepsp_r50.py", "../_base_/datasets/object_masks.py"]
optimizer = dict(type="Adam", lr=2.25e-4, weight_decay=1e-4)
schedule = dict(type="MultiStep", milestones=(22500, 37500), gamma=0.1)
loop = dict(steps=45000, eval_every=5000, save_every=5000, monitor="mBA.mean")
