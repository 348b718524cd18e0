"""230 epochs of 30,000 samples in whole batches of 32; the rate falls tenfold at epochs 190 and 210."""

_epoch = 30000 // 32
schedule = dict(type="MultiStep", milestones=(190 * _epoch, 210 * _epoch))
loop = dict(steps=230 * _epoch, eval_every=10 * _epoch, save_every=_epoch, monitor="NoC@90", better="lower")
