"""SBD: 8,498 images, drawn more often where a former model failed; crops with an object, no background.

sbd_samples_weights.pkl belongs to the published code; --cfg-options "train.sampler={'type':'Shuffle'}" does without.
"""

import os

_base_ = "clicks_cocolvis.py"
min_area, keep_background = 80, 0.0
_scores = os.path.join(os.environ.get("SEGKIT_DATA", "data"), "sbd_samples_weights.pkl")
train = dict(dataset=dict(type="SBDClicks"), sampler=dict(type="ByScore", scores=_scores, gamma=1.25))
