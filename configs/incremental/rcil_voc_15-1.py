"""RCIL, VOC 15-1: one branch keeps what was learned, the other learns; pooled cubes are distilled."""

_base_ = "plop_voc_15-5.py"
task = "voc_15-1"
_maps = [f"{side}{name}" for name in (*(f"features.{i}" for i in range(4)), "embedding") for side in ("", "teacher.")]
_logits = ["logits", "teacher.logits"]
model = dict(backbone=dict(type="TwoBranchABNResNet"), head=dict(type="TwoBranchMiBDeepLabHead"))
optimizer = dict(lr=0.02)
runner = dict(
    merge="exact",
    train_only=[r"^(?!.*(convs\.conv2|convs\.bn2|map_convs|map_bn)\.)"],  # all but the first branch
    losses=[
        dict(type="PseudoLabelCE", published_median=True),
        dict(type="PooledCube", on=[*_logits, *_maps]),
        dict(type="ChannelCube", on=[*_logits, *_maps]),
    ],
)
