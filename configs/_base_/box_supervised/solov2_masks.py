"""SOLOv2's losses of masks for the small level-set network."""

_base_ = "boxlevelset_lite0.py"
model = dict(head=dict(level_features=0))
losses = [dict(type="SOLOv2Masks")]
