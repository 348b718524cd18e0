"""EfficientViT-B0, Cityscapes; published mIoU 75.653 at 1024 x 2048. The authors' training code is not public: AdamW as
in SegFormer's setting (eight processes)."""

_base_ = ["../_base_/models/efficientvit_b0.py", "../_base_/datasets/cityscapes.py"]
crop_size = (1024, 1024)
train = dict(batch_size=1)
optimizer = dict(
    type="AdamW",
    lr=6e-5,
    weight_decay=0.01,
    groups=[dict(match=r"^head", lr=10.0), dict(kind="norm", decay=0.0)],
)
schedule = dict(type="Poly", power=1.0, warmup=dict(steps=1500, factor=1e-6))
loop = dict(steps=160000, eval_every=16000, save_every=16000)
