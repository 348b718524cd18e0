"""Objects learned from masks on a GPU: Mask2Former on Swin-T."""

_base_ = ["../_base_/models/box2mask_swin_t.py", "../_base_/datasets/labelled_instances.py"]
model = dict(head=dict(level_features=0))
losses = [dict(type="Mask2FormerMasks")]
runner = dict(type="BoxSupervised", padding=32)
optimizer = dict(
    type="AdamW",
    lr=1e-4,
    weight_decay=0.05,
    groups=[
        dict(match=r"^backbone\.", lr=0.1),
        dict(kind="norm", decay=0.0),
        dict(match=r"^head\.(query_embedding|query_features|level_embedding)$", decay=0.0),
    ],
)
schedule = dict(type="OneCycle", rise=0.1)
loop = dict(steps=8000, amp="auto", clip=0.01, log_every=50, save_every=500, monitor="segm.AP")
