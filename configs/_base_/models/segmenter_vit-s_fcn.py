"""Segmenter on ViT-S/16 with a linear head."""

_base_ = ["segmenter_vit-s_mask.py"]
model = dict(head=dict(type="FCNHead", num_convs=0, dropout=0.0))
