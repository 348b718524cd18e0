"""The schedule of the recorded trainings on two CPU cores: AdamW, one cycle, a quarter of the rate for the encoder."""

optimizer = dict(
    type="AdamW", lr=2e-3, weight_decay=0.05, groups=[dict(match=r"^backbone", lr=0.25), dict(kind="norm", decay=0.0)]
)
schedule = dict(type="OneCycle", rise=0.15)
loop = dict(steps=960, amp="auto", channels_last=True, ema=0.99, log_every=25, save_every=120)
