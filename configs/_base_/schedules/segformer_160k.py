"""160,000 steps of AdamW as mmsegmentation's SegFormer: the head at ten times the rate, no decay of normalizations but
those behind the stages."""

optimizer = dict(
    type="AdamW",
    lr=6e-5,
    weight_decay=0.01,
    groups=[
        dict(match=r"(embed|downsample|attn)\.norm\.|\.norm\d\.", decay=0.0),
        dict(match=r"^head\.", lr=10.0),
    ],
)
schedule = dict(type="Poly", power=1.0, warmup=dict(steps=1500, factor=1e-6, law="mmengine"))
loop = dict(steps=160000, eval_every=16000, save_every=16000)
