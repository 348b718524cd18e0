"""160,000 steps of AdamW as MaskFormer on ResNets: the encoder at a tenth of the rate; batches of 16."""

optimizer = dict(type="AdamW", lr=1e-4, weight_decay=1e-4, groups=[dict(match=r"^backbone\.", lr=0.1)])
schedule = dict(type="Poly", power=0.9)
loop = dict(steps=160000, clip=0.01, eval_every=5000, save_every=5000)
