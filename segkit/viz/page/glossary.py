"""What scores mean, in one sentence each, and which of their values are better."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

MEANINGS = (
    ("presence.Acc", "share of images in which it is right whether a class is there, mean over classes"),
    ("presence.F1", "F-score of the classes that whole images hold, mean over classes"),
    ("presence.AUC", "how well probabilities tell images with a class from those without; 50 is chance"),
    ("boundary.mIoU", "IoU of the bands along the outlines, mean over classes: how good edges are"),
    ("boundary_f.*", "F-score of the outlines: found within a few pixels, and not invented"),
    ("mBA.mean", "share of right pixels in bands around the true outlines"),
    ("matched.mask_IoU", "overlap of the masks of those objects that were found at all"),
    ("matched.filled_box_IoU", "the same if the filled box were the mask: what a detector of boxes alone gives"),
    ("matched.recall", "share of the objects that were found, by boxes"),
    ("*.objects", "number of true objects"),
    ("*.detections", "number of detections"),
    ("mIoU@*", "mean overlap with the true object after so many clicks"),
    ("NoC@*", "mean number of clicks until an object's IoU reaches so many percent"),
    ("5-mIoU", "mean overlap with the true object after five clicks, where every object got as many"),
    ("seconds_set_image", "mean time that preparing an image took, once"),
    ("seconds_further_click", "mean time that an answer to a click after the first took"),
    ("user@1.*", "overlap after users' first clicks, each answered alone"),
    ("seconds_per_click", "mean time that an answer to a click took"),
    ("seconds", "time of all clicks together"),
    ("clicks", "number of all clicks"),
    ("mIoU_old_with_background", "mean IoU of the background and the classes of the first step"),
    ("mIoU_all_with_background", "mean IoU of the background and all classes"),
    ("mIoU_old*", "mean IoU of the classes of the first step"),
    ("mIoU_new*", "mean IoU of the classes learned since"),
    ("mIoU_all*", "mean IoU of all classes"),
    ("hIoU_with_background", "harmonic mean of old classes with the background, and new classes"),
    ("hIoU", "harmonic mean of old and new classes: low where one of them is low"),
    ("mIoU", "overlap of truth and prediction (shared pixels / pixels of either), mean over classes"),
    ("IoU", "overlap of truth and prediction: shared pixels / pixels of either"),
    ("mDice", "2 x shared pixels / pixels of both, mean over classes"),
    ("Dice", "2 x shared pixels / pixels of both"),
    ("MeanDice*", "Dice of the mask of each class in each image, mean"),
    ("MeanPrecision*", "precision of the mask of each class in each image, mean"),
    ("mAcc", "share of a class's true pixels that were found, mean over classes"),
    ("Acc", "share of a class's true pixels that were found"),
    ("aAcc", "share of all pixels that are right; large classes dominate"),
    ("fwIoU", "IoU of the classes weighted by their share of the pixels"),
    ("mPrecision", "share of the pixels predicted as a class that are of it, mean over classes"),
    ("Precision", "share of the pixels predicted as a class that are of it"),
    ("mRecall", "share of a class's true pixels that were found, mean over classes"),
    ("Recall", "share of a class's true pixels that were found"),
    ("mFscore", "harmonic mean of precision and recall, mean over classes"),
    ("Fscore", "harmonic mean of precision and recall"),
    ("Accuracy", "share of pixels for which it is right whether they are of the class"),
    ("Specificity", "share of the pixels of other classes that were left out"),
    ("BalancedAccuracy", "mean of recall and specificity"),
    ("PQ*", "panoptic quality: how many segments are found, times how well they overlap the true ones"),
    ("SQ*", "mean overlap of the segments that were found with the true ones"),
    ("RQ*", "F-score of finding segments, with an IoU above 50 percent"),
    ("AP", "average precision over IoU thresholds of 50 to 95 percent: finding, classifying and outlining objects"),
    ("AP50", "average precision where an IoU of 50 percent counts as found"),
    ("AP75", "average precision where an IoU of 75 percent counts as found: good outlines"),
    ("AP[0-9]*", "average precision where an IoU of so many percent counts as found"),
    ("APs", "average precision of small objects, below 32 x 32 pixels"),
    ("APm", "average precision of medium objects, 32 x 32 to 96 x 96 pixels"),
    ("APl", "average precision of large objects, above 96 x 96 pixels"),
    ("AP[rcf]", "average precision of rare, common or frequent classes"),
    ("AR@*", "share of the objects found with so many detections an image, mean over IoU thresholds"),
    ("ARs", "share of the small objects found"),
    ("ARm", "share of the medium objects found"),
    ("ARl", "share of the large objects found"),
    ("images", "number of scored images"),
    ("images_per_second", "speed of the whole evaluation, reading and scoring included"),
    ("real_mflops", "multiply-adds that the network used for an image, in millions, mean"),
    ("expected_mflops", "multiply-adds by the probabilities of the gates, in millions, mean"),
)
"""Patterns of scores' names and what they mean, the first that fits; a name is tried whole, then by its last part."""

PARTS = {
    "segm": "masks",
    "bbox": "boxes",
    "filled": "filled boxes as masks",
    "VOC": "masks, one IoU each",
    "boundary": "bands along the outlines",
    "samplewise": "image by image",
    "multi_label": "classes that may overlap",
}
"""What the scores of a section are of."""

NEITHER = ("images", "images_per_second", "*objects", "*detections", "*mflops")
"""Figures that say nothing of how good a model is."""


def meaning(name: str) -> str:
    """Returns what a score says, "" where it is not known; name: such as "mIoU" or "segm.AP50"."""
    for tried in (name, name.rpartition(".")[2]):
        for pattern, text in MEANINGS:
            if fnmatchcase(tried, pattern):
                of = PARTS.get(name.partition(".")[0], "") if tried != name else ""
                return f"{of}: {text}" if of else text
    return ""


def heading(name: str) -> str:
    """Returns the name of a section of the scores with what its scores are of."""
    return f"{name} ({PARTS[name]})" if name in PARTS else name


def direction(name: str, lower_is_better: Sequence[str]) -> str:
    """Returns which values of a score are better: "higher", "lower" or "".

    Args:
        name: of the score.
        lower_is_better: patterns that the metrics state.
    """
    if any(fnmatchcase(name, pattern) for pattern in NEITHER):
        return ""
    return "lower" if any(fnmatchcase(name, pattern) for pattern in lower_is_better) else "higher"
