"""ADE20K as MiB trains on it: crops of half the image's area or more at 512x512, mirrored; a batch of 24 over all GPUs.

Scored on whole images with their shorter side resized to 512, the scores brought back to the original size.
"""

from segkit.config import ref

_base_ = "ade20k.py"
train = dict(
    batch_size=24,
    transforms=[dict(type="RandomResizedCrop", size=ref("crop_size"), area=(0.5, 2.0)), dict(type="Flip")],
)
val = dict(transforms=[dict(type="Resize", short=512)])
test = dict(transforms=[dict(type="Resize", short=512)])
