"""SegNet, CamVid with median frequency weights; published: mIoU 60.1."""

_base_ = ["../_base_/models/segnet.py", "../_base_/datasets/camvid.py", "../_base_/schedules/sgd_40k.py"]
losses = [dict(type="CrossEntropy", on="logits", target="mask", class_weight="median_frequency")]
train = dict(batch_size=12)
optimizer = dict(lr=0.001, momentum=0.9)  # of the published solver; the paper has 0.1
schedule = dict(type="Constant")
