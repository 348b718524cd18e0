"""MicroSeg, VOC 15-1: regions that a network proposes are classified, all of the background is unknown.

data/voc_proposals/ID.png numbers the proposed regions of each image, docs/incremental.md. With 100 images of memory:
runner.memory="dict(size=100, mix='half')".
"""

_base_ = "ssul_voc_15-1.py"
model = dict(head=dict(type="MicroSegHead"))
losses = [dict(type="UnknownBCE"), dict(type="UnknownBCE", on="pixel.logits"), dict(type="UnknownContrast")]
train = dict(batch_size=16)
runner = dict(
    proposals="data/voc_proposals",
    init="random",
    train_only=[r"classifier\.region_(unknown|background)\.", r"classifier\.region_steps\.{new}\."],
    losses=[dict(type="PseudoLabelBCE"), dict(type="UnknownContrast")],
    later=dict(optimizer=dict(lr=0.01, groups=[dict(match=r"classifier\.region_background\.", lr=1e-4)])),
)
