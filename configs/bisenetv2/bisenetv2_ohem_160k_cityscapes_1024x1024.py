"""BiSeNet V2, hard pixels, Cityscapes, mmsegmentation's setting (four processes); published mIoU 73.57."""

_base_ = [
    "../_base_/models/bisenetv2.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/sgd_160k_warmup.py",
]
crop_size = (1024, 1024)
train = dict(batch_size=4)
optimizer = dict(lr=0.05)
_hard = dict(type="OHEM", threshold=0.7, min_kept=10000, per_image=True, average="all")
_hard["loss"] = dict(type="CrossEntropy", average="all")
losses = [dict(_hard, on="logits"), dict(_hard, on="aux*.logits")]
