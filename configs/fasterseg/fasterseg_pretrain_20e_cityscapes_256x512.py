"""FasterSeg, first of four: the weights of the search network, 20 epochs of half of Cityscapes at half resolution.

As in the authors' code each step trains the widest network, the narrowest and two of random widths, all with the
teacher's stem and decoder; the architecture stays as it is. They compare with labels at stride 8, here with those of
the image. Scales are 0.75, 1 and 1.25 of half the image. The search starts from its last.pt.
"""

_base_ = ["../_base_/models/fasterseg_search.py", "../_base_/datasets/cityscapes.py"]
passes = ("teacher.widest", "teacher.narrowest", "teacher.random1", "teacher.random2")
min_kept = 3 * 256 * 512 // 16
train = dict(
    batch_size=3,
    dataset=dict(type="Part", share=0.5, dataset=dict(type="Cityscapes", root=None, split="train")),
    transforms=[
        dict(type="RandomShortSide", sides=(384, 512, 640)),
        dict(type="RandomCrop", size=(256, 512)),
        dict(type="Flip"),
    ],
)
val = dict(transforms=[dict(type="Resize", size=(512, 1024))])
test = dict(transforms=[dict(type="Resize", size=(512, 1024))])
optimizer = dict(
    type="SGD", lr=0.02, momentum=0.9, weight_decay=5e-4, groups=[dict(match=r"^backbone\.networks\.", lr=0.0)]
)
schedule = dict(type="Step", every=495, gamma=0.978)
loop = dict(steps=9_900, clip=5.0)
