"""1001 epochs of SBD's 8,498 images in whole batches of 32; the rate falls tenfold at epochs 800 and 900."""

_epoch = 8498 // 32
schedule = dict(type="MultiStep", milestones=(800 * _epoch, 900 * _epoch))
loop = dict(steps=1001 * _epoch, eval_every=10 * _epoch, save_every=_epoch, monitor="NoC@90", better="lower")
