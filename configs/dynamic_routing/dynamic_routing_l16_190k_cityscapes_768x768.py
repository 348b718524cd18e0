"""Dynamic Routing of 16 layers, Cityscapes, from random weights, without a budget; published: val mIoU 76.7, 114.9 G.

Set loop.sync_bn=False to train on a CPU. The authors' code also computes the statistics of the normalizations again
before it scores.
"""

from segkit.config import ref

_base_ = ["../_base_/models/dynamic_routing_l16.py", "../_base_/datasets/cityscapes.py"]
crop_size = (768, 768)
train = dict(
    transforms=[
        dict(type="RandomShortSide", sides=(512, 768, 1024, 1280, 1536, 2048), long=4096),
        dict(type="Flip"),
        dict(type="RandomCrop", size=ref("crop_size")),
    ]
)
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=1e-4, groups=[dict(kind="norm", decay=0.0)])
schedule = dict(type="Poly", power=0.9, warmup=dict(steps=1000, factor=0.001))
loop = dict(steps=190000, clip=5.0, sync_bn=True, eval_every=10000, save_every=5000)
