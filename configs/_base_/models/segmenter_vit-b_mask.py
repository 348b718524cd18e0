"""Segmenter on ViT-B/16 with the mask transformer."""

_base_ = ["segmenter_vit-t_mask.py"]
model = dict(backbone=dict(name="vit_base_patch16_384"), head=dict(heads=12))
