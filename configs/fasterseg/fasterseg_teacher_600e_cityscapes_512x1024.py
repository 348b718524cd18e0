"""FasterSeg, third of four: the published teacher, 600 epochs of 1,000 steps on one GPU.

A teacher of your own search: model.backbone.genotype=.../genotype_teacher.json.
"""

_base_ = ["../_base_/models/fasterseg_teacher.py", "../_base_/datasets/cityscapes.py"]
min_kept = 12 * 512 * 1024 // 16
train = dict(
    batch_size=12,
    transforms=[
        dict(type="RandomShortSide", sides=(768, 1024, 1280)),
        dict(type="RandomCrop", size=(512, 1024)),
        dict(type="Flip"),
    ],
)
optimizer = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="Step", every=1000, gamma=0.992)
loop = dict(steps=600_000)
