"""Whole image, sliding window, padding and test-time augmentation against slow references."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segkit.api import build_runner
from segkit.inference import at_size, build_labels, build_score, padded, slide, to_labels, tta, whole
from segkit.registry import ConfigError, build_model
from segkit.settings import InferenceSettings
from segkit.windows.sliding import slide_labels


class Position(nn.Module):
    """Two classes whose logits at half the size depend on the pixels and, through a 3x3 mean, on the border."""

    align_corners = False

    def __init__(self, channels: int = 2):
        super().__init__()
        self.mean = torch.full((1, 3, 1, 1), 100.0)
        self.weight = torch.linspace(-1, 1, channels * 3).view(channels, 3, 1, 1) / 50

    def forward(self, image, window=None):
        return {"logits": F.avg_pool2d(F.conv2d(image.float(), self.weight), 3, 2, 1)}


@pytest.fixture
def image():
    return torch.randint(0, 256, (1, 3, 37, 50), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def slow_slide(predict, image, crop, stride):
    """Window by window over every pixel's own list of predictions."""
    height, width = image.shape[2:]
    sums, counts = torch.zeros(1, 2, height, width), torch.zeros(height, width)
    tops = list(range(0, max(height - crop[0], 0), stride[0])) + [max(height - crop[0], 0)]
    lefts = list(range(0, max(width - crop[1], 0), stride[1])) + [max(width - crop[1], 0)]
    for y in tops:
        for x in lefts:
            y1, x1 = min(y + crop[0], height), min(x + crop[1], width)
            sums[:, :, y:y1, x:x1] += predict(image[:, :, y:y1, x:x1])
            counts[y:y1, x:x1] += 1
    return sums / counts


@pytest.mark.parametrize(
    "crop, stride", [((16, 16), (11, 11)), ((16, 20), (8, 13)), ((64, 20), (40, 10)), ((37, 50), (5, 5))]
)
def test_slide(image, crop, stride):
    predict = whole(Position())
    assert torch.allclose(
        slide(predict, crop, stride=stride)(image), slow_slide(predict, image, crop, stride), atol=1e-6
    )


@pytest.mark.parametrize("channels, dtype", [(1, torch.uint8), (2, torch.uint8), (300, torch.int16)])
@pytest.mark.parametrize("stride", ["even", (11, 13)])
def test_labels_decided_band_by_band_are_those_of_the_whole_map(image, channels, dtype, stride):
    images = torch.cat([image, image.flip(-1)])
    settings = InferenceSettings(mode="slide", crop=(16, 20), stride=stride, pad_divisor=8, threshold=0.45)
    model = Position(channels)
    weight = torch.randn(channels, 3, 1, 1, generator=torch.Generator().manual_seed(3)) / 50
    model.weight = weight - weight.mean(1, keepdim=True)
    expected = to_labels(build_score(model, settings)(images, (37, 50)), 0.45)
    labels = build_labels(model, settings)(images)
    assert labels.dtype == dtype and torch.equal(labels, expected)
    assert len(labels.unique()) > 1


def test_bands_end_where_the_next_window_begins(image):
    """By hand: windows of 16 begin at 0, 11 and 21 of 37 rows; those between are never held together."""
    shapes = []

    def decide(logits):
        shapes.append(tuple(logits.shape))
        return to_labels(logits)

    slide_labels(whole(Position()), (16, 16), stride=(11, 11), decide=decide)(image)
    assert shapes == [(1, 2, rows, columns) for rows in (11, 10, 16) for columns in (16, 16, 16, 2)]


def test_a_gradient_passes_through_the_windows(image):
    """Of a sum over the mean of windows: each window's pixels count by one over how many windows see them."""
    seen = torch.ones(1, 1, 6, 6, requires_grad=True)
    slide(lambda x, window: x * 1.0, (4, 4), stride=(2, 2))(seen).square().sum().backward()
    assert torch.allclose(seen.grad, torch.full((1, 1, 6, 6), 2.0))


@pytest.mark.parametrize(
    "change, is_in_bands",
    [
        (dict(), True),
        (dict(size=(40, 50)), False),
        (dict(matrix=torch.tensor([[-1.0, 0, 50], [0, 1, 0]]).double().numpy()), False),
    ],
)
def test_a_runner_that_needs_labels_alone_decides_them_by_bands(image, change, is_in_bands, monkeypatch):
    """With probabilities, or where the labels go back to another size, the whole map is made; labels are equal."""
    inference = dict(mode="slide", crop=(16, 16), stride=(11, 11))
    batch = {"image": image, "meta": [dict(valid=(37, 50), size=(37, 50)) | change]}
    runner = build_runner(dict(inference=inference))
    wanted = build_runner(dict(runner=dict(type="Semantic", probabilities=True), inference=inference))
    expected = wanted.predict(Position(), batch)[0]
    made = []
    monkeypatch.setattr("segkit.runners.semantic.build_labels", lambda *a: made.append(1) or build_labels(*a))
    labels = runner.predict(Position(), batch)[0]["labels"]
    assert torch.equal(labels, expected["labels"]) and torch.equal(
        labels, to_labels(expected["probabilities"][None])[0]
    )
    assert bool(made) == is_in_bands


def test_a_window_larger_than_the_image_is_the_whole_image(image):
    predict = whole(Position())
    assert torch.equal(slide(predict, (100, 100), stride=(50, 50))(image), predict(image))


def test_stride_must_fit():
    with pytest.raises(ConfigError, match=r"inference.stride = \(20, 8\)"):
        slide(whole(Position()), (16, 16), stride=(20, 8))


def test_padding_is_the_mean_and_is_cut_off(image):
    seen = {}

    def predict(x, window=None):
        seen["x"] = x
        return x[:, :2]

    out = padded(predict, 32, torch.full((1, 3, 1, 1), 100.0))(image)
    assert seen["x"].shape[2:] == (64, 64) and float(seen["x"][0, 0, 63, 63]) == 100.0
    assert torch.equal(out, image[:, :2].float())


def test_tta_is_the_mean_of_its_views(image):
    predict = whole(Position())
    views = []
    for scale in (0.5, 1.0):
        size = (int(37 * scale + 0.5), int(50 * scale + 0.5))
        small = image.float() if scale == 1 else F.interpolate(image.float(), size, mode="bilinear")
        for flip in (False, True):
            logits = predict(small.flip(3)).flip(3) if flip else predict(small)
            if logits.shape[2:] != (37, 50):
                logits = F.interpolate(logits, (37, 50), mode="bilinear")
            views.append(logits.softmax(1))
    ours = tta(predict, (0.5, 1.0), flip=True)(image, (37, 50))
    assert torch.allclose(ours, sum(views) / 4, atol=1e-6)


@pytest.mark.parametrize("keeps_areas", [False, True])
def test_views_have_a_pixel_at_least(keeps_areas):
    """A quarter of a single pixel is still one; it was none, which ended in torch's error."""
    settings = InferenceSettings(tta=dict(scales=(0.25, 1.0), keep_areas=keeps_areas))
    for size in ((1, 1), (1, 9)):
        pixels = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
        assert build_score(Position(), settings)(pixels, size).shape == (1, 2, *size)


def test_one_channel_is_a_threshold(image):
    settings = InferenceSettings(threshold=0.45)
    scores = build_score(Position(1), settings)(image, (20, 20))
    logits = F.interpolate(whole(Position(1))(image), (20, 20), mode="bilinear")
    assert torch.equal(to_labels(scores, 0.45), (logits[:, 0].sigmoid() > 0.45).to(torch.uint8))


def test_original_size(image):
    predict = whole(Position())
    assert torch.equal(at_size(predict)(image, (80, 90)), F.interpolate(predict(image), (80, 90), mode="bilinear"))


def test_batches_of_unequal_images_are_scored_without_their_padding():
    """Images of one size and way back share a pass; the order of the batch stays."""
    runner, model, passes = build_runner({}), Position(), []
    rng = torch.Generator().manual_seed(1)
    sizes, places = [(20, 30), (16, 40), (20, 30)], [(25, 33), (16, 40), (25, 33)]
    images = [torch.randint(0, 256, (1, 3, *size), generator=rng, dtype=torch.uint8) for size in sizes]
    together = torch.zeros(3, 3, 20, 40, dtype=torch.uint8)
    for canvas, image in zip(together, images):
        canvas[:, : image.shape[2], : image.shape[3]] = image[0]
    metas = [dict(valid=size, size=place) for size, place in zip(sizes, places)]
    handle = model.register_forward_pre_hook(lambda _module, inputs: passes.append(tuple(inputs[0].shape)))
    predictions = runner.predict(model, {"image": together, "meta": metas})
    handle.remove()
    assert passes == [(2, 3, 20, 30), (1, 3, 16, 40)]
    for image, prediction, meta in zip(images, predictions, metas):
        alone = runner.predict(model, {"image": image, "meta": [meta]})[0]
        assert torch.equal(alone["labels"], prediction["labels"]) and alone["labels"].shape == meta["size"]


@pytest.mark.parametrize("head", ["FCNHead", "PSPHead"])
def test_folded_normalizations_give_the_same_scores_in_fewer_layers(head):
    """timm's normalizations of this encoder hold their activations too; PSPNet's head joins maps of several sizes."""
    model = build_model(
        dict(
            num_classes=3,
            backbone=dict(type="Timm", name="tf_efficientnet_lite0"),
            head=dict(type=head, channels=16, level=-1),
        )
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    model.eval()
    image, seen = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, _i, _o: seen.append(type(module)))
    try:
        with torch.inference_mode():
            plain = build_score(model, InferenceSettings())(image, (64, 96))
            counts = [sum(issubclass(one, nn.BatchNorm2d) for one in seen)]
            score = build_score(model, InferenceSettings(fold_norms=True))
            score(image, (64, 96))  # the first call makes the copy
            seen.clear()
            faster = score(image, (64, 96))
            counts.append(sum(issubclass(one, nn.BatchNorm2d) for one in seen))
    finally:
        handle.remove()
    assert counts[0] > 40 and counts[1] == 0
    assert (faster - plain).abs().max() < 1e-3 * plain.std()
