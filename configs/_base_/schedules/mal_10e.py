"""MAL, 10 epochs of batches of 32 crops (4 on each of 8 processes): AdamW, 1.5e-6 for each crop of a batch, half
precision (loop.amp="off" on the CPU)."""

optimizer = dict(type="AdamW", lr=4.8e-5, betas=(0.9, 0.9), weight_decay=5e-4)
schedule = dict(type="Cosine", min_lr=9.6e-6, warmup=dict(steps=0.1, factor=0.0, law="before"))
loop = dict(
    epochs=10,
    amp="fp16",
    ema=0.996,  # the teacher: parameters alone, from the first step
    ema_rise=1,
    ema_buffers=False,
    eval_every=15000,
    monitor="matched.mask_IoU",
)
