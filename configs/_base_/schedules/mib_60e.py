"""As mib_30e, 60 epochs."""

_base_ = "mib_30e.py"
loop = dict(epochs=60)
