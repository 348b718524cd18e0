"""A network that the search has found, trained as Auto-DeepLab-M is:

segkit train auto_deeplab_search_40e_cityscapes_321x321.py
segkit train THIS --cfg-options model.backbone.genotype=FOLDER_OF_THE_SEARCH/genotype.json
"""

_base_ = ["../_base_/models/auto_deeplab_resized.py", "../_base_/datasets/cityscapes.py"]
crop_size = (769, 769)
model = dict(backbone=dict(filters=32))
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=4e-5)
schedule = dict(type="Poly", power=0.9)
loop = dict(steps=1_500_000, sync_bn=True, eval_every=50_000, save_every=10_000)
