"""The first images of a set that have an object large enough."""

import numpy as np
import pytest

from segkit.data.instances.coco import COCOInstances
from segkit.data.instances.few import FewInstances
from segkit.files import DataError
from tests.instances.test_instance_sets import entry, rng, write_coco
from tests.interactive.test_click_readers import cache  # noqa: F401

ENTRIES = [
    entry(1, 10, [2, 2, 6, 6]),
    entry(2, 11, [2, 2, 20, 20], category=3),
    entry(3, 11, [30, 20, 5, 5]),
    entry(4, 12, [0, 0, 30, 30]),
    entry(5, 13, [0, 0, 30, 30]),
]


def test_small_objects_become_crowds(tmp_path):
    whole = COCOInstances(write_coco(tmp_path, ENTRIES))
    few = FewInstances(whole, 2, min_area=100)
    assert few.ids == ["11", "12"] and len(few) == 2 and few.classes == whole.classes
    np.testing.assert_array_equal(few.sizes, [[40, 48], [40, 48]])
    sample = few.sample(0, rng())
    assert sample["crowd"].tolist() == [False, True] and sample["labels"].tolist() == [1, 0]
    assert few.path(1) == whole.path(2) and few.image(0).shape == (40, 48, 3)
    truth = few.annotations
    assert [one["id"] for one in truth["images"]] == [11, 12]
    assert [(one["id"], one["iscrowd"]) for one in truth["annotations"]] == [(2, 0), (3, 1), (4, 0)]
    assert FewInstances(whole, 2, min_area=100, max_objects=1).ids == ["12", "13"]
    with pytest.raises(DataError, match="3 images have such objects"):
        FewInstances(whole, 4, min_area=100)
