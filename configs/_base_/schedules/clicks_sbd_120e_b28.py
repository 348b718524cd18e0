"""120 epochs of SBD's 8,498 images in whole batches of 28; the rate falls tenfold at epochs 100 and 115."""

_epoch = 8498 // 28
schedule = dict(type="MultiStep", milestones=(100 * _epoch, 115 * _epoch))
loop = dict(steps=120 * _epoch, eval_every=10 * _epoch, save_every=_epoch, monitor="NoC@90", better="lower")
