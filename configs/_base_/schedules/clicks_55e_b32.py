"""55 epochs of 30,000 samples in whole batches of 32; the rate falls tenfold at epoch 50. A second fall, published for
epoch 55, would come after the last step.
"""

_epoch = 30000 // 32
schedule = dict(type="MultiStep", milestones=(50 * _epoch,))
loop = dict(steps=55 * _epoch, eval_every=10 * _epoch, save_every=_epoch, monitor="NoC@90", better="lower")
