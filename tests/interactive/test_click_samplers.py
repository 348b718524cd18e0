"""Images drawn with replacement, uniformly or by their scores; scores read without running anything."""

import pickle

import numpy as np
import pytest

from segkit.data.files.plain_pickle import load_plain
from segkit.data.interactive.samplers import ByScore, Uniform
from segkit.files import DataError
from segkit.registry import SAMPLERS


class Names:
    """A data set of which only the ids matter."""

    def __init__(self, ids):
        self.ids = ids

    def __len__(self):
        return len(self.ids)


class Evil:
    """Unpickled by an ordinary reader, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def stored(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return str(path)


def test_uniform_draws_are_a_function_of_seed_and_position():
    sampler = SAMPLERS.get("Uniform")(Names(list("abcd")), 3)
    drawn = [sampler.index(position) for position in range(2000)]
    assert drawn == [Uniform(Names(list("abcd")), 3).index(position) for position in range(2000)]
    assert drawn != [Uniform(Names(list("abcd")), 4).index(position) for position in range(2000)]
    counts = np.bincount(drawn, minlength=4)
    assert ((counts - 500) ** 2 / 500).sum() < 16.3  # 3 degrees of freedom, p = .001
    assert any(len(set(drawn[i : i + 4])) < 4 for i in range(8))  # with replacement


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_hard_images_are_drawn_more_often(tmp_path, protocol):
    """Weights (1 - score)^gamma: with gamma 2 and scores 0, .5, 1 they are 1, 1/4, 0; the fourth image has no score."""
    scores = [(0, "a", np.float64(0.0)), (1, "b", np.float32(0.5)), (np.int64(2), "c", 1.0)]
    path = stored(tmp_path / "scores.pickle", scores, protocol)
    sampler = ByScore(Names(list("abcd")), path, seed=1, gamma=2.0)
    counts = np.bincount([sampler.index(position) for position in range(2000)], minlength=4)
    assert counts[2] == counts[3] == 0
    assert counts[0] / 2000 == pytest.approx(0.8, abs=0.03)


def test_names_count_where_the_order_differs(tmp_path):
    path = stored(tmp_path / "scores.pickle", [(0, "c.jpg", 0.0), (7, "a", 1.0), (1, None, 1.0)])
    sampler = ByScore(Names(list("abc")), path)
    assert {sampler.index(position) for position in range(20)} == {2}


@pytest.mark.parametrize(
    "content, message",
    [
        ([(0, "z", 0.5)], "'z'"),
        ([(9, "", 0.5)], "index 9"),
        ([(0, "a", 1.5)], "1.5"),
        ([(0, "a", 1.0)], "every score is 1"),
        ([(0, "a")], "list of"),
        ([], "empty"),
        ({"a": 1}, "list of"),
        (3, "list of"),
    ],
)
def test_bad_scores_are_refused(tmp_path, content, message):
    path = stored(tmp_path / "scores.pickle", content)
    with pytest.raises(DataError, match=message) as caught:
        ByScore(Names(["a", "b"]), path)
    assert "scores.pickle" in str(caught.value)


def test_nothing_in_a_pickle_is_run(tmp_path):
    mark = tmp_path / "mark"
    for content in ([Evil(mark)], np.array([Evil(mark)], dtype=object), np.dtype("O")):
        path = stored(tmp_path / "evil.pickle", content)
        with pytest.raises(DataError, match=r"evil\.pickle"):
            load_plain(path)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02]", b"no pickle at all"])
def test_damaged_pickles_are_named(tmp_path, content):
    (tmp_path / "damaged.pickle").write_bytes(content)
    with pytest.raises(DataError, match=r"damaged\.pickle"):
        load_plain(tmp_path / "damaged.pickle")
    with pytest.raises(DataError, match=r"none\.pickle"):
        load_plain(tmp_path / "none.pickle")


def test_numbers_of_numpy_become_pythons(tmp_path):
    values = [np.float64(-0.5), np.int16(-7), np.dtype(">i4").type(3), np.bool_(True), np.uint8(200), np.float32(0.25)]
    for protocol in range(6):
        read = load_plain(stored(tmp_path / "n.pickle", dict(values=values, text=("é", b"\x00\xff")), protocol))
        assert read == dict(values=[-0.5, -7, 3, True, 200, 0.25], text=("é", b"\x00\xff"))
        assert all(type(value) in (bool, int, float) for value in read["values"])
