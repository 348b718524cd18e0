"""Promptable networks as click models: what goes in and comes out, with a stand-in for the network."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit.models import prompt_model
from segkit.models.prompt_model import PromptModel
from segkit.models.prompt_networks import describe
from segkit.registry import ConfigError, build_model
from segkit.runners.interactive.advance import Advance
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.predictor import ClickPredictor
from segkit.runners.interactive.runner import Interactive
from segkit.runners.interactive.session import Session
from segkit.settings import ClickInference
from tests.interactive.doubles import drawn

FIXTURES = Path(__file__).parents[1] / "fixtures/prompts"
WHOLE = ClickInference(zoom=None, flip=False, threshold=0.5)


class Stand(nn.Module):
    """A network of transformers in small: it draws a disk at the last point, and writes down what it is asked."""

    def __init__(self, side: int = 1024, inner_maps: bool = False):
        super().__init__()
        self.config = SimpleNamespace(prompt_encoder_config=SimpleNamespace(image_size=side, patch_size=16))
        self.side, self.inner_maps = side, inner_maps
        self.vision_encoder, self.prompt_encoder = nn.Linear(1, 1), nn.Linear(1, 1)
        self.mask_decoder = nn.Linear(1, 1)
        nn.init.constant_(self.mask_decoder.weight, 4.0)
        self.encoded, self.asked = 0, []

    def get_image_embeddings(self, pixels: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        assert pixels.shape[1:] == (3, self.side, self.side)
        self.encoded += len(pixels)
        last = pixels[:, :1, ::16, ::16].clone()
        return (last, [last + 1, last + 2]) if self.inner_maps else last

    def forward(self, image_embeddings: Tensor, multimask_output: bool, **prompts) -> SimpleNamespace:
        self.asked.append({"multimask_output": multimask_output, **prompts})
        batch, count, side = len(image_embeddings), 3 if multimask_output else 1, self.side // 4
        y, x = torch.meshgrid(torch.arange(side) * 4.0, torch.arange(side) * 4.0, indexing="ij")
        masks = torch.full((batch, 1, count, side, side), -4.0)
        for b in range(batch):
            if "input_boxes" in prompts:
                x0, y0, x1, y1 = prompts["input_boxes"][b, 0].tolist()
                masks[b] += 8 * ((x >= x0) & (x < x1) & (y >= y0) & (y < y1))
            else:
                px, py = prompts["input_points"][b, 0, -1].tolist()
                inside = (x - px) ** 2 + (y - py) ** 2 < (0.1 * self.side) ** 2
                masks[b, 0] += 8 * inside * torch.arange(1, count + 1)[:, None, None] / count
        masks = masks * self.mask_decoder.weight / 4
        iou = torch.tensor([0.1, 0.9, 0.3][:count]).expand(batch, 1, count)
        return SimpleNamespace(pred_masks=masks, iou_scores=iou)


@pytest.fixture
def make(monkeypatch):
    def made(architecture: str = "sam-b", side: int = 1024, **arguments) -> PromptModel:
        stand = Stand(side, inner_maps=architecture.startswith("sam-hq"))
        monkeypatch.setattr(prompt_model, "build_network", lambda description: stand)
        return build_model(dict(type="PromptModel", num_classes=1, architecture=architecture, **arguments)).eval()

    return made


@pytest.mark.parametrize("index", [0, 3])
def test_images_points_and_masks_are_processed_as_published(make, index):
    model, stored = make(), np.load(FIXTURES / "sam_processing.npz")
    about = json.loads((FIXTURES / "sam_processing.json").read_text())[f"tensor_{index}"]
    image = drawn(index)[0][None]
    size = (image.shape[-2], image.shape[-1])
    assert [list(model.scaled(size))] == about["reshaped"]
    pixels = model.pixels(image)
    expected = stored[f"tensor_{index}/pixel_values"]
    step = next(s for s in range(1, 1024) if -(-1024 // s) == expected.shape[-1])
    assert np.abs(pixels[..., ::step, ::step].numpy() - expected).max() < 1e-4
    assert pixels.double().sum().item() == pytest.approx(float(stored[f"tensor_{index}/sum"]), rel=1e-4)

    clicks = torch.tensor([[[50.0, 100.0, 0.0], [200.0, 20.0, 1.0]]])
    prompts = model.with_state(model.guidance(clicks, size), [None], [(20.0, 10.0, 200.0, 150.0)])
    assert prompts.points[0].tolist() == pytest.approx(np.array(about["points"][0][0]))
    assert prompts.labels.tolist() == about["labels"][0]
    assert prompts.boxes[0].tolist() == pytest.approx(np.array(about["boxes"][0][0]))

    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    low = 5 * torch.exp(-(((y - 100) / 40) ** 2 + ((x - 120) / 50) ** 2)) - 2
    full, expected = model._full(low[None, None], size), stored[f"tensor_{index}/mask_logits"]
    step = next(s for s in range(1, 640) if -(-size[0] // s) == expected.shape[-2])
    assert np.abs(full[0, :, ::step, ::step].numpy() - expected[0]).max() < 1e-4
    assert int((full > 0).sum()) == about["mask_pixels_above_0"]


def test_sam_2_squashes(make):
    model = make("sam2-t", side=64)
    assert model.scaled((30, 60)) == (64, 64)
    prompts = model.guidance(torch.tensor([[[15.0, 30.0, 0.0], [-1.0, -1.0, -1.0]]]), (30, 60))
    assert prompts.points[0, 0].tolist() == [32.0, 32.0] and prompts.labels.tolist() == [[1, -1]]
    assert model._full(torch.zeros(1, 1, 16, 16), (30, 60)).shape == (1, 1, 30, 60)


def test_a_mask_goes_in_and_comes_out_alike(make):
    model = make(side=256)
    mask = torch.zeros(1, 1, 120, 200)
    mask[..., 30:90, 50:150] = 1
    low = model._low(mask)
    assert low.shape == (1, 1, 64, 64)
    assert low[..., 39:, :].max() < -6  # the padding below 120 / 200 of the side is surely no object
    back = (model._full(low, (120, 200)) > 0).float()
    assert (back * mask).sum() / torch.maximum(back, mask).sum() > 0.95


def test_the_best_of_three_answers_points_and_a_single_one_a_box(make):
    model = make(side=256)
    encoded = model.encode(drawn(5)[0][None])
    clicks = torch.tensor([[[30.0, 40.0, 0.0], [-1.0, -1.0, -1.0]]])
    prompts = model.guidance(clicks, (64, 80))
    outputs = model.answer(encoded, prompts)
    asked = model.network.asked[-1]
    # 64 x 80 pixels become 205 x 256
    assert asked["multimask_output"] and asked["input_points"].tolist() == [[[[128.0, 30 * 205 / 64]]]]
    assert asked["input_labels"].tolist() == [[[1]]] and "input_masks" not in asked
    assert outputs["iou"].item() == pytest.approx(0.9)
    # the second mask: -4 + 8 * 2 / 3 inside
    assert outputs["low_logits"].max().item() == pytest.approx(-4 + 16 / 3)
    boxed = model.answer(encoded, model.with_state(prompts, [None], [(16.0, 20.0, 48.0, 60.0)]))
    asked = model.network.asked[-1]
    assert not asked["multimask_output"] and asked["input_boxes"][0, 0].tolist() == pytest.approx(
        [64.0, 51.25, 192.0, 153.75]
    )
    mask = boxed["logits"][0, 0] > 0
    rows, columns = (torch.nonzero(mask.any(dim)).flatten().tolist() for dim in (1, 0))
    assert abs(rows[0] - 16) < 2 and abs(rows[-1] - 47) < 2 and abs(columns[0] - 20) < 2 and abs(columns[-1] - 59) < 2


def test_images_with_other_numbers_of_points_are_answered_as_if_alone(make):
    model = make(side=256)
    images = torch.stack([drawn(5)[0], drawn(5)[0].flip(1)])
    clicks = torch.tensor(
        [
            [[30.0, 40.0, 0.0], [9.0, 9.0, 1.0], [3.0, 4.0, 2.0], [-1.0, -1.0, -1.0]],
            [[30.0, 40.0, 0.0], [-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]],
        ]
    )
    both = model.answer(model.encode(images), model.guidance(clicks, (64, 80)))["logits"]
    assert [tuple(asked["input_points"].shape) for asked in model.network.asked] == [(1, 1, 3, 2), (1, 1, 1, 2)]
    for i in (0, 1):
        alone = model.answer(model.encode(images[i : i + 1]), model.guidance(clicks[i : i + 1], (64, 80)))["logits"]
        assert torch.equal(both[i : i + 1], alone)


def test_inner_maps_reach_the_decoder_of_hq(make):
    model = make("sam-hq-b", side=256)
    model.answer(model.encode(drawn(5)[0][None]), model.guidance(torch.tensor([[[3.0, 4.0, 0.0]] * 2]), (64, 80)))
    asked = model.network.asked[-1]
    assert len(asked["intermediate_embeddings"]) == 2 and asked["hq_token_only"] is False


def test_clicks_encode_once_and_read_their_own_last_answer(make):
    model = make(side=256)
    predictor = ClickPredictor(model, WHOLE)
    predictor.set_image(drawn(5)[0].permute(1, 2, 0).numpy())
    first = predictor.click(30, 40)
    assert first[30, 40] and not first[0, 0]
    last = predictor._session.low_logits
    predictor.click(10, 10, positive=False)
    asked = model.network.asked[-1]
    assert torch.equal(asked["input_masks"], last) and asked["input_labels"].tolist() == [[[1, 0]]]
    assert model.network.encoded == 1
    predictor.undo()
    assert torch.equal(predictor._session.low_logits, last) and (predictor.mask == first).all()
    predictor.set_mask(first)
    predictor.click(30, 40)
    given = model.network.asked[-1]["input_masks"]
    assert given.shape == last.shape and not torch.equal(given, last)  # of the mask that was set


def test_a_box_stays_for_the_clicks_that_follow(make):
    predictor = ClickPredictor(make(side=256), WHOLE)
    predictor.set_image(drawn(5)[0].permute(1, 2, 0).numpy())
    mask = predictor.set_box(16, 20, 48, 60)
    assert mask[30, 40] and not mask[5, 5]
    predictor.click(30, 40)
    assert "input_boxes" in predictor._advance.model.network.asked[-1]
    with pytest.raises(ValueError, match="64 rows and 80 columns"):
        predictor.set_box(10, 10, 70, 20)


def test_a_box_is_refused_where_the_model_takes_none():
    from tests.interactive.doubles import Echo

    predictor = ClickPredictor(Echo(), ClickInference(zoom=None))
    predictor.set_image(np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ValueError, match="takes no boxes"):
        predictor.set_box(1, 1, 10, 10)


def test_settings_that_crop_or_mirror_are_refused(make):
    for settings in (ClickInference(zoom=None), ClickInference(flip=False), ClickInference(zoom=None, brs="RGB-BRS")):
        with pytest.raises(ConfigError, match="PromptModel answers on whole images; set zoom=None, flip=False"):
            Advance(make(side=256), settings)


def test_features_are_kept(make):
    model = make(side=256, cache=1)
    images = torch.stack([drawn(5)[0]] * 2)
    first = model.encode(images)
    assert model.network.encoded == 1 and torch.equal(first.features[0][0], first.features[0][1])
    model.encode(images[:1].flip(2))
    model.encode(images[:1])
    assert model.network.encoded == 3  # one place alone


def test_training_moves_the_mask_decoder_alone(make):
    model = make(side=256).train()
    assert not model.network.vision_encoder.training and model.network.mask_decoder.training
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert names and all(name.startswith("network.mask_decoder.") for name in names)
    image, mask = drawn(5)
    clicks = torch.full((1, 8, 3), -1.0)
    clicks[0, 0] = torch.tensor([30.0, 40.0, 0.0])
    batch = {"image": image[None], "mask": torch.from_numpy(mask)[None].float(), "clicks": clicks, "meta": [{}]}
    outputs = Interactive(iterations=2).forward(model, batch, np.random.default_rng(0))
    assert outputs["logits"].shape == (1, 1, 64, 80)
    outputs["logits"].mean().backward()
    assert model.network.mask_decoder.weight.grad.abs().sum() > 0
    assert model.network.vision_encoder.weight.grad is None


def test_names_are_checked():
    with pytest.raises(ConfigError, match="did you mean 'sam2-t'"):
        describe("sam2-tt")
    with pytest.raises(ConfigError, match="model_type = 'detr': must be one of sam, sam_hq, sam2"):
        describe({"model_type": "detr"})


def test_a_session_starts_without_a_mask(make):
    model = make(side=256)
    session = Session(drawn(5)[0])
    session.add(Click(30, 40, True))
    Advance(model, WHOLE)([session])
    assert "input_masks" not in model.network.asked[-1]
