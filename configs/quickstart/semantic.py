"""The embedded data set in under three minutes on two CPU cores: textured disks, stars and squares."""

model = dict(
    num_classes=6,
    backbone=dict(type="PlainEncoder", channels=(24, 48, 96, 128)),
    head=dict(type="UNetHead", channels=(96, 48, 24), upsample="bilinear"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
train = dict(
    batch_size=16,
    workers=0,
    dataset=dict(type="Shapes", split="train", instances=False, cache=True),
)
val = dict(batch_size=20, workers=0, dataset=dict(type="Shapes", split="val", instances=False))
test = dict(batch_size=20, workers=0, dataset=dict(type="Shapes", split="test", instances=False))
optimizer = dict(type="AdamW", lr=6e-3, weight_decay=1e-2)
schedule = dict(type="OneCycle", rise=0.1)
loop = dict(steps=800, channels_last=True, log_every=50, eval_every=400, save_every=400)
