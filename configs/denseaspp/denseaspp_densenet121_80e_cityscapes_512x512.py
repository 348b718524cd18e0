"""DenseASPP on DenseNet-121, Cityscapes, 80 epochs."""

_base_ = ["../_base_/models/denseaspp_densenet121.py", "../_base_/datasets/cityscapes.py"]
crop_size = (512, 512)
train = dict(batch_size=8)
optimizer = dict(type="Adam", lr=3e-4, weight_decay=1e-5)
schedule = dict(type="Poly", power=0.9)
loop = dict(epochs=80)
