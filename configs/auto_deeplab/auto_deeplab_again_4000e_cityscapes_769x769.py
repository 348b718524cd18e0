"""The network that NoamRosenberg/autodeeplab searched again, F = 32, as trained there: Cityscapes val mIoU 79.8.

4,000 epochs, 14 images a step (two on each of seven GPUs), warm-up over 1,000 steps, hard pixels alone (OHEM).
"""

_base_ = ["auto_deeplab_found_1500k_cityscapes_769x769.py"]
losses = [dict(type="OHEM", on="logits", target="mask")]
schedule = dict(type="Poly", power=0.9, warmup=dict(steps=1000, factor=1e-4))
loop = dict(steps=0, epochs=4000)
