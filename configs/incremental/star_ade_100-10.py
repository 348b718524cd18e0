"""STAR, ADE20K 100-10: 100 epochs a step, a fifth of them a warm-up."""

_base_ = ["../_base_/datasets/ade20k_incremental.py", "../_base_/incremental/star.py"]
task, pos_weight = "ade_100-10", 30.0
optimizer = dict(lr=2.5e-3)
schedule = dict(warmup=dict(steps=0.2, factor=0.001))
loop = dict(epochs=100)
runner = dict(later=dict(optimizer=dict(lr=2.5e-4)))
