"""EoMT on DINOv3-L, ADE20K at 512, the authors' setting: 16 epochs of batches of 16; published mIoU 59.5.

Their settings name a tenth of the rate for the encoder, which their code never applies: it trains at the full rate.
"""

_base_ = ["eomt_dinov2-l_39k_ade_512.py"]
model = dict(
    backbone=dict(name="vit_large_patch16_dinov3_qkvb"),
    head=dict(starts=(0, 6520, 9780, 13040), ends=(3000, 9780, 13040, 16300)),
)
optimizer = dict(lr=2e-4, layer_decay=dict(rate=1.0), groups=[dict(match=r"^backbone\.", wait=2000, warmup=3000)])
schedule = dict(warmup=dict(steps=2000))
loop = dict(steps=20208)
