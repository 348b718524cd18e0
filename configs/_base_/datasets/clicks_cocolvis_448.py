"""COCO+LVIS in crops of 448 pixels, 32 a step, and SimpleClick's protocol of scores. batch_size is that of all GPUs."""

_base_ = "clicks_cocolvis.py"
crop_size = (448, 448)
train = dict(batch_size=32)
# every image or box is squeezed to one size, from the first click on; DAVIS to a larger one
inference = dict(clicks=dict(zoom=dict(skip=-1, target=(448, 448))))
test = dict(DAVIS=dict(inference=dict(clicks=dict(zoom=dict(target=(672, 672))))))
