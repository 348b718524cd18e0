"""APro in the place of the level sets of the small network."""

_base_ = "boxlevelset_lite0.py"
model = dict(head=dict(level_features=0))
losses = [
    dict(
        type="APro",
        projection_steps=300,  # what is propagated starts from masks that are near their boxes
    )
]
