"""The multi-task study on CamVid: one model says whether there are bicyclists, one trains on images of them alone.

Two trainings of 400 steps; the rarest class is the only one that the gate may take out.
"""

_base_ = ["presence_camvid.py"]
runner = dict(
    type="TwoModels",
    objects=["bicyclist"],
    gate=dict(background=None, threshold=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5]),
    second=dict(
        model=dict(aux=[]),
        losses=[dict(type="CrossEntropy"), dict(type="Jaccard")],
        metrics=[dict(type="Confusion"), dict(type="Samplewise", absent="one")],
    ),
)
