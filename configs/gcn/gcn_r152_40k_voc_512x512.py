"""GCN on ResNet-152, kernels of 15 cells (the paper's best), VOC 2012; published: test mIoU 83.6 after COCO.

The schedule is mmsegmentation's for this set, not the paper's.
"""

_base_ = ["../_base_/models/gcn_r152.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
model = dict(head=dict(kernel=15))
optimizer = dict(lr=1e-3, momentum=0.99)
