"""Refiners behind a model that learns classes in steps: as many classes as the step knows, in its order."""

import numpy as np
import pytest

from segkit import api
from tests.incremental.test_step_runs import config
from tests.refiners.doubles import SEEN

SWAP = dict(refiners=[dict(type="tests.refiners.doubles:Swap")])


@pytest.fixture(autouse=True)
def forget():
    SEEN.clear()


def test_refiners_see_the_classes_of_each_step(tmp_path):
    cfg = config(steps=((0, 1, 2), (3, 4, 5)))
    cfg["inference"] = SWAP
    api.train(cfg, tmp_path / "run", device="cpu")
    widths = [coarse.shape[1] for _, coarse in SEEN]
    assert set(widths) == {3, 6} and widths == sorted(widths)
    assert all(image.shape == (1, 3, 32, 32) for image, _ in SEEN)

    path = tmp_path / "run/step1/last.pt"
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    plain = api.predict(api.load_model(None, path, options=["inference.refiners=[]"], trust=True), image)["labels"]
    refined = api.predict(api.load_model(None, path, trust=True), image)["labels"]
    assert np.array_equal(refined, 5 - plain)
