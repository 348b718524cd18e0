"""The embedded data set with two models, minutes on two cores: one finds whether there are stars, one draws them."""

_base_ = ["../quickstart/semantic.py"]
model = dict(aux=[dict(type="PresenceHead")])
losses = [dict(type="CrossEntropy"), dict(type="ClassPresence", weight=0.2)]
metrics = [dict(type="Confusion"), dict(type="Presence"), dict(type="GateThresholds")]
runner = dict(
    type="TwoModels",
    objects=["striped star", "checked star"],
    gate=dict(threshold=[0, 0, 0, 0.5, 0.5, 0]),
    second=dict(model=dict(aux=[]), losses=[dict(type="CrossEntropy")], metrics=[dict(type="Confusion")]),
)
