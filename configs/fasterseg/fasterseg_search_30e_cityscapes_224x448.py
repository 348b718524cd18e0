"""FasterSeg, second of four: teacher and student are searched together, 30 epochs of half of Cityscapes.

First measure this machine: segkit benchmark THIS --operations --out latency.json. The other half of the images trains
the architecture. The result is genotype.json and genotype_teacher.json in the run's folder. Deviations as in the
pretraining; the latency of paths is weighed by their own betas.
"""

_base_ = ["../_base_/models/fasterseg_search.py", "../_base_/datasets/cityscapes.py"]
min_kept = 2 * 224 * 448 // 16
init = dict(path="work_dirs/fasterseg_pretrain_20e_cityscapes_256x512/last.pt")
train = dict(
    batch_size=2,
    transforms=[
        dict(type="RandomShortSide", sides=(384, 512, 640)),
        dict(type="RandomCrop", size=(224, 448)),
        dict(type="Flip"),
    ],
)
val = dict(transforms=[dict(type="Resize", size=(512, 1024))])
test = dict(transforms=[dict(type="Resize", size=(512, 1024))])
optimizer = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="Step", every=743, gamma=0.978)
loop = dict(steps=22_290, clip=5.0)
runner = dict(type="SearchWithLatency", table="latency.json", size=(1024, 2048), weight=0.01, fps=(155.0, 175.0))
