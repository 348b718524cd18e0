"""Search of Auto-DeepLab on Cityscapes at half resolution, with the paper's settings (section 4): 3 GPU-days.

Half of the images for the weights, half for the architecture, which is trained from the 21st of 40 epochs on (an epoch
is 744 steps). The result is genotype.json in the run's folder, for auto_deeplab_found_1500k_cityscapes_769x769.py.
"""

from segkit.config import ref

_base_ = ["../_base_/models/auto_deeplab_search.py", "../_base_/datasets/cityscapes.py"]
crop_size = (321, 321)
train = dict(
    batch_size=2,
    transforms=[
        dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.5, high=0.5),
        dict(type="Flip"),
    ],
)
val = dict(transforms=[dict(type="Resize", size=(512, 1024))])
test = dict(transforms=[dict(type="Resize", size=(512, 1024))])
optimizer = dict(type="SGD", lr=0.025, momentum=0.9, weight_decay=3e-4)
schedule = dict(type="Cosine", min_lr=0.001)
loop = dict(epochs=40)
runner = dict(type="SearchArchitecture", start_step=14_880, share=0.5, lr=3e-3, weight_decay=1e-3)
