"""One training on an eighth of CamVid's labels and on pseudo labels that `segkit pseudo` has written; 400 steps.

    segkit pseudo work_dirs/camvid_eighth_supervised/last.pt IMAGES --out work_dirs/camvid_eighth_pseudo --threshold 0.5

IMAGES are those without labels: files, folders or globs. Half of the images of each part are drawn class by class, with
a crop around one of the class's centroids.
"""

from segkit.config import ref

_base_ = ["camvid_eighth_supervised.py"]
pseudo_labels = "work_dirs/camvid_eighth_pseudo"
class_uniform = dict(type="ClassUniform", fraction=0.5, tile=240, by_image=True)
train = dict(
    dataset=dict(
        type="Concat",
        datasets=[
            dict(type="Fold", dataset=dict(type="CamVid", root=None, split="train"), folds=8, fold=0, only=True),
            dict(type="PseudoLabels", root=ref("pseudo_labels")),
        ],
    ),
    sampler=dict(type="Interleaved", counts=(4, 4), samplers=[ref("class_uniform"), ref("class_uniform")]),
    transforms=[
        dict(type="FocusCrop", low=0.3, high=0.8, size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
losses = [
    dict(type="CrossEntropy", on="labelled.logits", target="labelled.mask"),
    dict(type="Jaccard", on="labelled.logits", target="labelled.mask"),
    dict(type="CrossEntropy", on="pseudo.logits", target="pseudo.mask"),
    dict(type="Jaccard", on="pseudo.logits", target="pseudo.mask"),
]
weighting = dict(type="NormalizedPseudo", alpha=1.0, decay=0.9)
runner = dict(type="SelfTraining")
