"""100 epochs of 30,000 samples in whole batches of 16; the rate falls tenfold at epochs 50 and 90."""

_epoch = 30000 // 16
schedule = dict(type="MultiStep", milestones=(50 * _epoch, 90 * _epoch))
loop = dict(steps=100 * _epoch, eval_every=10 * _epoch, save_every=_epoch, monitor="NoC@90", better="lower")
