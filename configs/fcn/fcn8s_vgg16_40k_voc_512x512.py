"""FCN-8s on VGG-16, VOC 2012, by the settings of the paper's section 4.3."""

_base_ = ["../_base_/models/fcn8s_vgg16.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
train = dict(batch_size=20)
optimizer = dict(lr=1e-4, momentum=0.9, groups=[dict(kind="bias", lr=2.0, decay=0.0)])
