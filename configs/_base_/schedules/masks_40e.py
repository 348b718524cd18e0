"""AdamW for 40 epochs with a cosine; the encoder at a tenth of the rate."""

optimizer = dict(
    type="AdamW", lr=1e-3, weight_decay=0.01, groups=[dict(match=r"^backbone", lr=0.1), dict(kind="norm", decay=0.0)]
)
schedule = dict(type="Cosine")
loop = dict(epochs=40, amp="bf16", ema=0.999)
