"""APro in the place of the level sets of the small transformer."""

_base_ = "box2mask_lite0.py"
model = dict(head=dict(level_features=0))
losses = [
    dict(
        type="QueryAPro",
        projection_steps=300,  # what is propagated starts from masks that are near their boxes
    )
]
