"""ContextNet cn14, Cityscapes, by the setting of Fast-SCNN, its successor (eight processes)."""

_base_ = ["../_base_/models/contextnet.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_160k.py"]
train = dict(batch_size=4)
optimizer = dict(lr=0.12, weight_decay=4e-5)
