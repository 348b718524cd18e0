"""The same eighth, then two rounds of self-training on the other 321 images: three trainings of 400 steps each.

Stage round0 is camvid_eighth_supervised.py. Each later stage begins from ImageNet again, and sees eight labelled images
a step, as many as before, and eight pseudo-labelled ones.
"""

_base_ = ["camvid_eighth_supervised.py"]
runner = dict(
    type="SelfTraining",
    rounds=2,
    unlabelled=dict(type="Fold", dataset=dict(type="CamVid", root=None, split="train"), folds=8, fold=0),
    ratio=(8, 8),
    threshold=0.5,
    share=0.8,
    later=dict(
        train=dict(batch_size=16),
        losses=[
            dict(type="CrossEntropy", on="labelled.logits", target="labelled.mask"),
            dict(type="Jaccard", on="labelled.logits", target="labelled.mask"),
            dict(type="CrossEntropy", on="pseudo.logits", target="pseudo.mask"),
        ],
        weighting=dict(type="NormalizedPseudo", alpha=1.0, decay=0.9),
    ),
)
