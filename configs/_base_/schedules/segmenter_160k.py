"""160,000 steps of SGD without weight decay, batches of 8, windows that overlap by 32 pixels, as mmsegmentation's."""

optimizer = dict(type="SGD", lr=1e-3, momentum=0.9, weight_decay=0.0)
schedule = dict(type="Poly", power=0.9, min_lr=1e-4)
loop = dict(steps=160000, eval_every=16000, save_every=16000)
inference = dict(mode="slide", crop=(512, 512), stride=(480, 480))
