"""LwF-MC, VOC 15-5: a sigmoid per class, the old ones' from the model of the step before."""

_base_ = "finetune_voc_15-5.py"
losses = [dict(type="BinaryCrossEntropy", on="logits", target="mask", sum_classes=True, average="all")]
runner = dict(losses=[*losses, dict(type="ICaRLDistillation", weight=10.0)])
