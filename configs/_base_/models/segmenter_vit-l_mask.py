"""Segmenter on ViT-L/16 with the mask transformer, at 640 x 640 pixels."""

_base_ = ["segmenter_vit-t_mask.py"]
model = dict(backbone=dict(name="vit_large_patch16_384", out_indices=(23,), img_size=(640, 640)), head=dict(heads=16))
