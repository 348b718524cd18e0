"""Clicks on one image: what is undone, what is refused, what the network is shown."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit.api import click_predictor
from segkit.models.segmentor import Segmentor
from segkit.registry import ConfigError
from segkit.runners.interactive.advance import Advance, click_rows
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.session import Session
from segkit.runners.interactive.zoom import (
    Box,
    boxes_above,
    choose_box,
    expand,
    overlap,
    view_of,
    wants_second_pass,
    whole,
)
from segkit.schema import check
from segkit.settings import ClickInference, ZoomSettings
from tests.interactive.doubles import Echo, drawn
from tests.tiny import TinyBackbone, TinyHead

ZOOM = ZoomSettings()


class Scripted(nn.Module):
    """Answers with the given logits, one after another, whatever it is shown; keeps what that was."""

    align_corners = True
    has_previous = True

    def __init__(self, answers: list[float | Tensor]):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.answers, self.sizes, self.previous, self.clicks = list(answers), [], [], []

    def normalize(self, image: Tensor) -> Tensor:
        return image.float()

    def guidance(self, clicks: Tensor, size: tuple[int, int], previous: Tensor) -> Tensor:
        self.clicks.append(clicks)
        self.previous.append(previous)
        return previous

    def run(self, normalized: Tensor, guidance: Tensor) -> dict[str, Tensor]:
        self.sizes.append(tuple(normalized.shape[-2:]))
        answer = torch.as_tensor(self.answers.pop(0), dtype=torch.float32)
        return {"logits": answer.expand(len(normalized), 1, *self.sizes[-1]).clone()}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def square(height: int, width: int, box: Box) -> Tensor:
    logits = torch.full((height, width), -3.0)
    logits[box.top : box.bottom + 1, box.left : box.right + 1] = 3.0
    return logits


@pytest.fixture
def predictor():
    made = click_predictor(Echo(), zoom=dict(target=96, min_crop=20))
    made.set_image(drawn(5)[0].permute(1, 2, 0).numpy())
    return made


def test_undo_goes_back_to_everything(predictor):
    clicks = [(30, 36, True), (22, 46, True), (31, 51, False), (38, 49, True)]
    states = [(predictor.probabilities, predictor.clicks, predictor._session.box)]
    for click in clicks:
        mask = predictor.click(*click)
        assert np.array_equal(mask, predictor.probabilities > 0.49) and mask.dtype == bool
        states.append((predictor.probabilities, predictor.clicks, predictor._session.box))
    for probabilities, done, box in states[-2:1:-1]:
        predictor.undo()
        assert np.array_equal(predictor.probabilities, probabilities)
        assert (predictor.clicks, predictor._session.box) == (done, box)
    for click in clicks[2:]:
        predictor.click(*click)
    assert np.array_equal(predictor.probabilities, states[-1][0])
    predictor.reset()
    assert predictor.clicks == () and not predictor.probabilities.any()
    assert predictor.click(30, 36).any()


def test_what_is_refused(predictor):
    for y, x in ((-1, 3), (64, 3), (3, 80), (3, -0.5)):
        with pytest.raises(ValueError, match="64 rows and 80 columns"):
            predictor.click(y, x)
    with pytest.raises(ValueError, match="no click to undo"):
        predictor.undo()
    with pytest.raises(ValueError, match=r"mask of \(64, 81\) pixels"):
        predictor.set_mask(np.zeros((64, 81), bool))
    with pytest.raises(ValueError, match="RGB"):
        predictor.set_image(np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match="set_image"):
        click_predictor(Echo()).click(1, 1)
    limited = click_predictor(Echo(), zoom=None, clicks_limit=1)
    limited.set_image(np.zeros((8, 9, 3), np.uint8))
    limited.click(1, 1)
    with pytest.raises(ValueError, match="takes 1 clicks"):
        limited.click(2, 2)
    without = click_predictor(Echo(has_previous=False), zoom=None)
    without.set_image(np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(ValueError, match="no previous mask"):
        without.set_mask(np.zeros((8, 9), bool))


def test_models_and_options_that_do_not_fit():
    with pytest.raises(ConfigError, match="Segmentor takes no clicks"):
        click_predictor(Segmentor(1, TinyBackbone(), TinyHead((8,), 1)))
    with pytest.raises(ConfigError, match="did you mean 'clicks_limit'"):
        click_predictor(Echo(), click_limit=3)
    with pytest.raises(ConfigError, match="must be None or one of RGB-BRS"):
        click_predictor(Echo(), brs="f-BRS")


def test_a_typing_error_in_the_config_is_found():
    with pytest.raises(ConfigError) as error:
        check({"model": {}, "inference": {"clicks": {"zoom": {"targets": 4}, "stale": True}}})
    assert "did you mean 'target'" in str(error.value) and "did you mean 'stale_roi'" in str(error.value)


def test_an_external_mask_is_shown_at_every_click_and_the_first_is_answered_twice():
    model = Scripted([1.0, 2.0, 3.0])
    predictor = click_predictor(model, zoom=None, flip=False)
    predictor.set_image(np.zeros((6, 7, 3), np.uint8))
    mask = np.zeros((6, 7), np.uint8)
    mask[2:4, 1:5] = 255
    predictor.set_mask(mask)
    assert np.array_equal(predictor.mask, mask > 0)
    assert np.allclose(predictor.click(3, 3), True) and predictor.probabilities == pytest.approx(sigmoid(2))
    predictor.click(1, 1, positive=False)
    assert predictor.probabilities == pytest.approx(sigmoid(3))
    assert all(torch.equal(shown[0, 0], torch.tensor(mask > 0).float()) for shown in model.previous)
    # the mask counts as a click before the first
    assert model.clicks[2].tolist() == [[[3, 3, 1], [1, 1, 2]]]


def test_rows_of_clicks():
    one = [(Click(1, 2, True), 0), (Click(3, 4.5, True), 1), (Click(5, 6, False), 2)]
    rows = click_rows([one, []], torch.device("cpu"))
    assert rows[0].tolist() == [[1, 2, 0], [3, 4.5, 1], [5, 6, 2], [-1, -1, -1]]
    assert (rows[1] == -1).all() and rows.dtype == torch.float32


def test_mirrored_logits_are_averaged_before_the_sigmoid():
    model = Scripted([torch.tensor([[-4.0, 0, 1]])])
    session = Session(torch.zeros(3, 2, 3, dtype=torch.uint8))
    session.add(Click(1, 0, True))
    Advance(model, ClickInference(zoom=None))([session])
    expected = [sigmoid(-1.5), sigmoid(0), sigmoid(-1.5)]
    assert session.probabilities[0, 0, 1].tolist() == pytest.approx(expected)
    assert model.clicks[0][:, 0, :2].tolist() == [[1, 0], [1, 2]]


def test_an_emptied_mask_shows_the_whole_image_again():
    """By default the answer is the whole image's; the published zoom puts it into the box before."""
    for stale, outside in ((False, sigmoid(2)), (True, 0.0)):
        model = Scripted([square(100, 100, Box(20, 29, 30, 39)), -5.0, 2.0])
        session = Session(torch.zeros(3, 100, 100, dtype=torch.uint8))
        advance = Advance(model, ClickInference(zoom=dict(target=60, min_crop=20), flip=False, stale_roi=stale))
        for y, x in ((25, 35), (26, 36), (27, 37)):
            session.add(Click(y, x, True))
            advance([session])
        # centre 24.5 and 34.5, 20 wide; 14.5 is rounded to even
        assert model.sizes == [(100, 100), (60, 60), (100, 100)]
        assert session.box == (Box(14, 34, 24, 44) if stale else None)
        assert float(session.probabilities[0, 0, 50, 50]) == pytest.approx(outside)
        assert float(session.probabilities[0, 0, 25, 35]) == pytest.approx(sigmoid(2))


def test_without_skipped_clicks_a_small_object_is_predicted_again():
    model = Scripted([square(100, 100, Box(20, 29, 30, 39)), 1.0])
    session = Session(torch.zeros(3, 100, 100, dtype=torch.uint8))
    session.add(Click(25, 35, True))
    Advance(model, ClickInference(zoom=dict(target=60, min_crop=20, skip=0), flip=False))([session])
    assert model.sizes == [(100, 100), (60, 60)] and session.box == Box(14, 34, 24, 44)
    assert not model.previous[1].any(), "both passes are shown the mask of the click before"
    assert wants_second_pass(None, (9, 9), ZoomSettings(skip=0)) is False


def test_published_boxes():
    assert expand(Box(10, 20, 30, 60), 1.4, 0) == (7, 23, 23, 67)
    assert expand(Box(10, 20, 30, 60), 1.4, 200) == (-85, 115, -55, 145)
    assert expand(Box(0, 5, 0, 6), 1.0, 0) == (0, 6, 0, 6)
    assert expand(Box(3, 8, 3, 9), 1.5, 0) == (1, 10, 1, 11)
    a = Box(0, 9, 0, 9)
    assert [overlap(a, Box(s, s + 9, 0, 9)) for s in (0, 5, 10, 20)] == pytest.approx([1, 1 / 3, 0, 0])


def test_which_box_is_taken():
    size, mask = (400, 500), Box(190, 209, 240, 259)
    box = Box(100, 300, 150, 350)  # 200 about 199.5 and 249.5, halves to even
    one, two = [Click(200, 250, True)], [Click(200, 250, True), Click(205, 255, True)]
    assert choose_box(None, mask, one, size, ZOOM) is None
    assert choose_box(None, mask, two, size, ZOOM) == box
    assert choose_box(None, None, two, size, ZOOM) is None
    assert choose_box(None, None, two, size, ZoomSettings(skip=-1)) == whole(size)
    near, far = Box(110, 310, 160, 360), Box(0, 399, 0, 499)
    assert choose_box(near, mask, two, size, ZOOM) == near
    assert choose_box(far, mask, two, size, ZOOM) == box
    # a click on the box's last row is outside of it, a negative one anywhere is no reason
    assert choose_box(Box(95, 205, 150, 350), mask, two, size, ZOOM) == box
    outside = [*two, Click(399, 0, False)]
    assert choose_box(near, mask, outside, size, ZOOM) == near


def test_boxes_of_several_masks_at_once():
    maps = [torch.zeros(1, 1, 5, 7), torch.zeros(1, 1, 9, 3)]
    maps[0][..., 2, 1], maps[0][..., 3, 6] = 0.6, 0.9
    assert boxes_above(maps, 0.5) == [Box(2, 3, 1, 6), None]
    assert boxes_above([], 0.5) == []


def test_zoom_and_limit_of_the_published_demo():
    view = view_of(Box(10, 59, 20, 119), (200, 300), ZoomSettings(target=(300, 300)), 250)
    assert view.sizes == ((50, 100), (300, 300), (250, 250))
    assert view.move([Click(20, 30, True)]) == [Click(50.0, 25.0, True)]
    restored = view.restore(torch.ones(1, 1, 250, 250), (200, 300), view.box)
    assert restored.sum() == 50 * 100 and restored[..., 10:60, 20:120].all()
    assert view_of(None, (200, 300), ZOOM, None).sizes == ((200, 300),)
    assert view_of(None, (200, 301), ZOOM, 150).sizes == ((200, 301), (100, 150))
    assert view_of(Box(0, 0, 0, 999), (200, 1000), ZOOM, None).sizes[-1] == (1, 400)


def test_a_model_of_several_stages_answers_by_the_number_of_clicks():
    class Stages(nn.Module):
        def __init__(self, stages: list[Scripted]):
            super().__init__()
            self.stages, self.mean, self.has_previous = nn.ModuleList(stages), stages[0].mean, True

        def stage(self, num_clicks: int) -> nn.Module:
            return self.stages[min(num_clicks, len(self.stages)) - 1]

    model = Stages([Scripted([1.0]), Scripted([2.0, 3.0, 4.0, 5.0])])
    predictor = click_predictor(model, zoom=None, flip=False)
    predictor.set_image(np.zeros((6, 7, 3), np.uint8))
    for logit in (1, 2, 3):
        predictor.click(logit, 1)
        assert predictor.probabilities == pytest.approx(sigmoid(logit))
    # an external mask stands for the first click
    predictor.set_mask(np.ones((6, 7), bool))
    predictor.click(1, 1)
    assert predictor.probabilities == pytest.approx(sigmoid(5))
    with pytest.raises(ConfigError, match="several networks"):
        click_predictor(model, brs="RGB-BRS")
