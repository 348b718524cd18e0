"""ESPNet, Cityscapes, 300 epochs; the paper (section 4.1) starts it from ESPNet-C's weights, by `init`."""

_base_ = ["../_base_/models/espnet.py", "../_base_/datasets/cityscapes.py"]
_epoch = 2975 // 12
train = dict(batch_size=12)
optimizer = dict(type="Adam", lr=5e-4, weight_decay=5e-4)
schedule = dict(type="MultiStep", milestones=(100 * _epoch, 200 * _epoch), gamma=0.5)
loop = dict(steps=300 * _epoch, eval_every=10 * _epoch, save_every=10 * _epoch)
