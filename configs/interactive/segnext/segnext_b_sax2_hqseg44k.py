"""SegNext (interactive) on ViT-B, "sax2", fine-tuned on HQSeg-44K from the network of COCO+LVIS, with its recipe.

Batches of 12. The published file is that after the first of the 100 epochs: loop.steps=2500.
"""

_base_ = "segnext_b_sax2_cocolvis.py"
_epoch = 30000 // 12
init = dict(path="work_dirs/segnext_b_sax2_cocolvis/last.pt")
train = dict(batch_size=12, dataset=dict(type="HQSeg44KClicks"))
schedule = dict(milestones=(50 * _epoch, 90 * _epoch))
loop = dict(steps=100 * _epoch, eval_every=10 * _epoch, save_every=_epoch)
