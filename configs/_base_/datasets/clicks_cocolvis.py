"""COCO+LVIS: 104,000 images, 1.6 million objects; RITM's crops and clicks. Other sets replace the data alone.

batch_size is that of all GPUs together: with n of them set train.batch_size to a n-th.
"""

_base_ = "clicks_evaluation.py"
min_area = 1000
train = dict(batch_size=28, workers=8, dataset=dict(type="COCOLVISClicks", stuff_prob=0.30))
