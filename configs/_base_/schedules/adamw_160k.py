"""160,000 steps of AdamW with a linear fall of the rate, as mmsegmentation trains UPerNet on transformers."""

optimizer = dict(type="AdamW", lr=6e-5, weight_decay=0.01)
schedule = dict(type="Poly", power=1.0, warmup=dict(steps=1500, factor=1e-6, law="mmengine"))
loop = dict(steps=160000, eval_every=16000, save_every=16000)
