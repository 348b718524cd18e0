"""PIDNet-S, Cityscapes, mmsegmentation's setting (two processes); published mIoU 78.74."""

_base_ = ["../_base_/models/pidnet_s.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_120k.py"]
crop_size = (1024, 1024)
train = dict(batch_size=6)
class_weight = [0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023]
class_weight += [0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507]
