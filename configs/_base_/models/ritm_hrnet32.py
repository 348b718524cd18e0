"""RITM on HRNet of width 32 with OCR of width 128."""

_base_ = "ritm_hrnet18.py"
model = dict(backbone=dict(width=32, pretrained="hrnet_w32.ms_in1k"), head=dict(ocr_width=128))
