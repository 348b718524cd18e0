"""Clicks to masks on the embedded data set in minutes on two CPU cores: disks, previous mask, two rounds of clicks."""

model = dict(
    type="ClickSegmentor",
    num_classes=1,
    backbone=dict(type="PlainEncoder", channels=(24, 48, 96, 128)),
    head=dict(type="UNetHead", channels=(96, 48, 24), upsample="bilinear"),
    radius=3,
)
losses = [dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0)]
runner = dict(type="Interactive", iterations=2)
train = dict(
    batch_size=16,
    workers=0,
    dataset=dict(type="ShapesClicks", split="train", cache=True),
    transforms=[dict(type="Flip"), dict(type="SampleClicks", max_points=12)],
)
val = dict(batch_size=50, workers=0, dataset=dict(type="ShapesClicks", split="val", length=50))
test = dict(batch_size=50, workers=0, dataset=dict(type="ShapesClicks", split="test", length=100))
inference = dict(clicks=dict(zoom=None, flip=False, max_clicks=10))
metrics = [dict(type="NoC", limits=(10,))]
optimizer = dict(type="AdamW", lr=6e-3, weight_decay=1e-2)
schedule = dict(type="OneCycle", rise=0.1)
loop = dict(
    steps=500, channels_last=True, log_every=50, eval_every=250, save_every=250, monitor="NoC@90", better="lower"
)
