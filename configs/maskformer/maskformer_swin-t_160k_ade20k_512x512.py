"""MaskFormer on Swin-T, ADE20K, mmsegmentation's network, the authors' rates; published mIoU 46.69."""

_base_ = [
    "../_base_/models/maskformer_swin_t.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/maskformer_160k.py",
]
optimizer = dict(
    lr=6e-5,
    weight_decay=0.01,
    groups=[
        dict(kind="norm", decay=0),
        dict(match=r"^head\.query_embedding$|relative_position_bias_table$", decay=0),
    ],
)
schedule = dict(warmup=dict(steps=1500, factor=1e-6))
