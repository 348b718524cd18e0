"""HMSA on HRNet-W48, Cityscapes, 175 epochs, one image for each of eight GPUs, half of the crops around a class.

The authors' setting for the fine labels; published validation mIoU 84.7 at scales 0.5, 1 and 2. They start from their
Mapillary weights: init = dict(path=FILE, drop=["head.classifier.", "head.coarse_classifier."]). Their learning rate
falls by epochs, here by steps, and their change of colors is another.
"""

from segkit.config import ref

_base_ = ["../_base_/models/hmsa_hr48.py", "../_base_/datasets/cityscapes.py"]
crop_size = (1024, 2048)
train = dict(
    batch_size=1,
    sampler=dict(type="ClassUniform", fraction=0.5, tile=1024),
    transforms=[dict(type="FocusCrop", size=ref("crop_size")), dict(type="Flip"), dict(type="Photometric")],
)
optimizer = dict(type="SGD", lr=0.005, momentum=0.9, weight_decay=1e-4)
schedule = dict(type="Poly", power=2.0)
loop = dict(epochs=175, sync_bn=True, eval_every=3720, save_every=3720)
