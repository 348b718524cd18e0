"""ADE20K panoptic as Mask2Former reads it: 100 things and 50 classes of stuff, crops of 640 x 640 pixels."""

_base_ = "ade20k_short_sides_640.py"
_stuff = {
    *(0, 1, 2, 3, 4, 5, 6, 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48, 51, 52, 54, 59),
    *(60, 61, 63, 68, 77, 79, 84, 91, 94, 96, 99, 100, 101, 105, 106, 109, 113, 114, 117, 122, 128, 131, 140, 141, 145),
}
runner = dict(type="Panoptic", things=tuple(label for label in range(150) if label not in _stuff))
train = dict(batch_size=16, dataset=dict(type="ADE20KPanoptic", root=None, split="train", filtered=True))
val = dict(dataset=dict(type="ADE20KPanoptic", root=None, split="val"))
test = dict(dataset=dict(type="ADE20KPanoptic", root=None, split="val"))
metrics = [dict(type="PQ")]
