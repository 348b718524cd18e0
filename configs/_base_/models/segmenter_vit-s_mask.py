"""Segmenter on ViT-S/16 with the mask transformer."""

_base_ = ["segmenter_vit-t_mask.py"]
model = dict(backbone=dict(name="vit_small_patch16_384"), head=dict(heads=6))
