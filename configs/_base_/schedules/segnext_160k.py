"""160,000 steps of SegNeXt: the head at ten times the encoder's rate, no decay of the normalizations in stages."""

optimizer = dict(
    type="AdamW",
    lr=6e-5,
    betas=(0.9, 0.999),
    weight_decay=0.01,
    groups=[dict(match=r"^head", lr=10.0), dict(match=r"^backbone\..*norm", decay=0.0)],
)
schedule = dict(type="Poly", power=1.0, warmup=dict(steps=1500, factor=1e-6, law="mmengine"))
loop = dict(steps=160000, eval_every=16000, save_every=16000)
inference = dict(pad_divisor=32)
