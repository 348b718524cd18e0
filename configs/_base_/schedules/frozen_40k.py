"""A decoder on a frozen encoder, 40,000 steps: AdamW at a tenth of the rate of linear heads, otherwise as for them."""

_base_ = "linear_40k.py"
optimizer = dict(lr=1e-4, weight_decay=0.01)
