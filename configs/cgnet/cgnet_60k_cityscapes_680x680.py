"""CGNet, Cityscapes, mmsegmentation's setting (four processes); published mIoU 65.63."""

_base_ = ["../_base_/models/cgnet.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/adam_60k.py"]
crop_size = (680, 680)
train = dict(batch_size=8)
class_weight = [2.5959933, 6.7415504, 3.5354059, 9.8663225, 9.690899, 9.369352, 10.289121, 9.953208, 4.3097677]
class_weight += [9.490387, 7.674431, 9.396905, 10.347791, 6.3927646, 10.226669, 10.241062, 10.280587, 10.396974]
class_weight += [10.055647]
