"""220 epochs of SBD's 8,498 images in whole batches of 28; the rate falls tenfold at epochs 200 and 215."""

_epoch = 8498 // 28
schedule = dict(type="MultiStep", milestones=(200 * _epoch, 215 * _epoch))
loop = dict(steps=220 * _epoch, eval_every=10 * _epoch, save_every=_epoch, monitor="NoC@90", better="lower")
