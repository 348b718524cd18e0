"""The multi-task study on CamVid: a branch that predicts which classes an image holds beside the plain network.

Its bicyclists are in half of the images alone. Behind the training, `segkit test --split val` finds the thresholds of
the gate (GateThresholds); docs/multi_task.md has the commands.
"""

_base_ = ["plain_camvid.py"]
model = dict(aux=[dict(type="PresenceHead", pool="max")])
losses = [dict(type="CrossEntropy"), dict(type="Jaccard"), dict(type="ClassPresence", weight=0.5)]
metrics = [
    dict(type="Confusion"),
    dict(type="Samplewise", absent="one"),
    dict(type="Presence"),
    dict(type="GateThresholds"),
]
