"""Eight images of COCO learnt by heart from masks: assignment, matching and evaluation on real annotations."""

_base_ = ["../../_base_/datasets/coco_mini_instances.py", "../../_base_/box_supervised/solov2_masks.py"]
train = dict(dataset=dict(dataset=dict(boxes_only=False)))
optimizer = dict(lr=1e-3, weight_decay=0.0)
loop = dict(steps=600, eval_every=200)
