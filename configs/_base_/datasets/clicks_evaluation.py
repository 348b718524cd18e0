"""The six sets that click models are scored on, under their published names; GrabCut (50 images) validates.

DAVIS is zoomed to 600 pixels, others to 400, and VOC's objects are told by grey values, both as published.
"""

_base_ = "clicks_folder.py"
val = dict(dataset=dict(type="GrabCut"))
test = dict(
    GrabCut=dict(dataset=dict(type="GrabCut"), batch_size=16),
    Berkeley=dict(dataset=dict(type="Berkeley"), batch_size=16),
    DAVIS=dict(dataset=dict(type="DAVIS"), batch_size=16, inference=dict(clicks=dict(zoom=dict(target=600)))),
    SBD=dict(dataset=dict(type="SBDClicksEval"), batch_size=16),
    PascalVOC=dict(dataset=dict(type="VOCClicksEval", merge_greys=True), batch_size=16),
    COCO_MVal=dict(dataset=dict(type="COCOMVal"), batch_size=16),
)
