"""The sets that later click models are scored on, each object with all 20 clicks, for NoC95 and 5-mIoU.

DAVIS-585 twice: from nothing, and from masks with faults, of which each click changes one region.
"""

_base_ = "clicks_folder.py"
val = dict(dataset=dict(type="GrabCut"))
test = dict(
    DAVIS=dict(dataset=dict(type="DAVIS"), batch_size=16, inference=dict(clicks=dict(zoom=dict(target=600)))),
    HQSeg44K=dict(dataset=dict(type="HQSeg44K"), batch_size=4),
    DAVIS585=dict(dataset=dict(type="DAVIS585"), batch_size=16),
    DAVIS585_init=dict(
        dataset=dict(type="DAVIS585", start="sp"), batch_size=16, inference=dict(clicks=dict(merge=True))
    ),
    TETRIS=dict(dataset=dict(type="TETRIS"), batch_size=4),
)
inference = dict(clicks=dict(target_iou=1.01))
