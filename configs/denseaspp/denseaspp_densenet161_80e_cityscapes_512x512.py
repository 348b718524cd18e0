"""DenseASPP on DenseNet-161, Cityscapes, 80 epochs; published: validation mIoU 79.9, test 79.5 to 80.6."""

_base_ = ["../_base_/models/denseaspp_densenet161.py", "../_base_/datasets/cityscapes.py"]
crop_size = (512, 512)
train = dict(batch_size=8)
optimizer = dict(type="Adam", lr=3e-4, weight_decay=1e-5)
schedule = dict(type="Poly", power=0.9)
loop = dict(epochs=80)
