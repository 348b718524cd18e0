"""FocalClick on HRNet of width 32 with OCR of width 128."""

_base_ = "focalclick_hrnet18s.py"
model = dict(
    backbone=dict(width=32, num_modules=(1, 4, 3), num_blocks=4, pretrained="hrnet_w32.ms_in1k"),
    head=dict(ocr_width=128),
)
