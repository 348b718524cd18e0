"""Data sets of data sets: what the inner ones know of their images is handed on."""

import numpy as np
import pytest

from segkit.data.concat import Concat, Mixed
from segkit.data.dataset import Dataset


class Known(Dataset):
    classes, palette = ("a", "b", "c"), ((0, 0, 0),) * 3

    def __init__(self, ids, sizes=None, shown=None, facts=()):
        self.ids, self.shown, self.facts = list(ids), shown, facts
        self.sizes = None if sizes is None else np.array(sizes)


def test_sizes_labels_and_facts_are_those_of_all_sets():
    one, two = Known("xy", [(4, 5), (6, 7)], [0, 2], ("one",)), Known("z", [(8, 9)], [0, 1], ("two",))
    both = Concat([one, two])
    assert both.sizes.tolist() == [[4, 5], [6, 7], [8, 9]] and len(both.sizes) == len(both)
    assert both.shown == [0, 1, 2] and both.facts == ("one", "two")
    assert Concat([both, one]).sizes.shape == (5, 2)


@pytest.mark.parametrize("other", [Known("z", None, [0]), Known("z", [(8, 9)], None)])
def test_what_one_set_does_not_know_the_whole_does_not(other):
    both = Concat([Known("xy", [(4, 5), (6, 7)], [0, 2]), other])
    assert (both.sizes is None) == (other.sizes is None) and (both.shown is None) == (other.shown is None)


def test_an_index_of_a_mixture_is_no_image():
    mixed = Mixed([Known("x", [(4, 5)]), Known("z", [(8, 9)])], ratios=(1, 1))
    assert mixed.sizes is None
