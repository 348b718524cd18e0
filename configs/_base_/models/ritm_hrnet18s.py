"""RITM on the small HRNet of width 18 with OCR of width 48."""

_base_ = "ritm_hrnet18.py"
model = dict(
    backbone=dict(num_modules=(1, 3, 2), num_blocks=2, pretrained="hrnet_w18_small_v2.ms_in1k"),
    head=dict(ocr_width=48),
)
