"""30 epochs of SGD with Nesterov's momentum and decay of all weights; the poly rate ends at 0, without a warm-up."""

optimizer = dict(type="SGD", lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
schedule = dict(type="Poly", power=0.9)
loop = dict(epochs=30)
