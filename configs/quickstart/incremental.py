"""Classes learned in two steps on the embedded data set, MiB against forgetting: minutes on two CPU cores."""

_base_ = ["semantic.py"]
runner = dict(
    type="Incremental",
    steps=[[0, 1, 2, 3], [4, 5]],
    losses=[dict(type="UnbiasedCE"), dict(type="UnbiasedKD", weight=10.0)],
    later=dict(optimizer=dict(lr=1e-3), loop=dict(steps=300, eval_every=300)),
)
loop = dict(steps=500, eval_every=500, save_every=250)
