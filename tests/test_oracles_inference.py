"""Whole image, sliding window, padding, resize to the original size, threshold and test-time augmentation give
mmsegmentation's numbers on a ResNetV1c-18 at output stride 8 with a small FCN head."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit.archs.fcn import FCNHead
from segkit.convert.keymap import load_map
from segkit.inference import Predict, at_size, build_score, padded, slide, to_labels, to_probabilities, tta, whole
from segkit.models.bases import Backbone
from segkit.models.segmentor import Segmentor
from segkit.runners.semantic import Semantic
from segkit.settings import InferenceSettings
from tests.oracles import TOLERANCE, error, fixture, image, threads, weights_of

SIZE = (100, 133)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
MARGIN = 1e-4
"""Between the two best classes; below it the best one is a matter of rounding."""

GREY = 0.8
"""The recorded views were resized as uint8: half a grey level of rounding, a quarter by weights of eleven bits."""

SLIDES = [
    ((64, 64), (43, 43)),
    ((64, 80), (32, 50)),
    ((128, 128), (85, 85)),
    ((64, 200), (40, 100)),
    ((50, 50), (50, 50)),
]

VIEWS = {
    "whole": InferenceSettings(pad_divisor=32, tta=dict(scales=(0.75, 1.0, 1.25), flip=True)),
    "slide": InferenceSettings(
        mode="slide", crop=(64, 64), stride=(43, 43), pad_divisor=32, tta=dict(scales=(1.0, 1.6), flip=True)
    ),
}
"""Record of test-time augmentation -> our settings."""

SEEN = {"whole": [(75, 100), (100, 133), (125, 166)], "slide": [(100, 133), (160, 213)]}
"""Sizes of the recorded views in their order, each plain and then mirrored."""


class ResNetV1c18(Backbone):
    """timm's ResNet-18 with a deep stem at output stride 8; where timm dilates both convolutions of a block,
    mmsegmentation's BasicBlock dilates the first alone."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.encoder = encoder()
        self.channels = tuple(self.encoder.feature_info.channels())
        self.strides = tuple(self.encoder.feature_info.reduction())
        self.mean, self.std = mean, std

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        return self.encoder(image)


@lru_cache
def encoder() -> nn.Module:
    """One for all models of this file: their encoders have the same weights."""
    import timm

    net = timm.create_model("resnet18", features_only=True, output_stride=8, stem_type="deep", stem_width=32)
    for name, module in net.named_modules():
        if name.endswith(".conv2"):
            module.dilation = module.padding = (1, 1)
    return net


class Remembered(nn.Module):
    """A model that runs once per window of one image, for resizes of both kinds."""

    def __init__(self, net: Segmentor):
        super().__init__()
        self.net, self.align_corners, self.known = net, False, {}

    def forward(self, image: Tensor, window: list | None = None) -> dict[str, Tensor]:
        key = None if window is None else tuple(window[0])
        if key not in self.known:
            self.known[key] = self.net(image, window=window)
        return self.known[key]


@pytest.fixture(autouse=True)
def one_thread():
    """On windows this small a second thread waits more than it works."""
    with threads(1):
        yield


@lru_cache
def stored() -> tuple[dict, dict[str, np.ndarray]]:
    return fixture("mmseg", "inference")


@lru_cache
def model(channels: int = 5, is_raw: bool = False) -> Segmentor:
    """The reference's model; is_raw: its input is an image in 0..255, otherwise it is normalized already."""
    backbone = ResNetV1c18(MEAN, STD) if is_raw else ResNetV1c18((0.0,) * 3, (1.0,) * 3)
    head = FCNHead(backbone.channels, channels, channels=32, num_convs=1, concat_input=False)
    net = Segmentor(max(channels, 2), backbone, head)
    names = {
        name: [channels, *shape[1:]] if ".conv_seg." in name else shape for name, shape in stored()[0]["names"].items()
    }
    net.load_state_dict(load_map("mmseg").apply(weights_of(names)), strict=True)
    return net.eval()


def photo(name: str = "tta/image_bgr") -> Tensor:
    """The image of the augmented views or a recorded view of it, uint8 RGB [1,3,H,W]."""
    return torch.from_numpy(stored()[1][name][..., ::-1].copy()).permute(2, 0, 1)[None]


def same_numbers(ours: Tensor, name: str) -> None:
    """ours: [1,K,H,W], against the stored slice."""
    content, arrays = stored()
    assert len(ours) == 1
    ours = ours[0] if arrays[name].ndim == 3 else ours
    difference = error(ours, arrays[name], content["outputs"][name])
    assert difference < TOLERANCE, f"{name}: {difference:.1e}"


def same_classes(labels: Tensor, name: str, scores: Tensor, margin: float = MARGIN) -> None:
    """labels [H,W] are the stored ones at every pixel whose decision is not a matter of rounding."""
    lead = scores[0].topk(2, dim=0).values
    is_clear = lead[0] - lead[1] > margin
    expected = torch.from_numpy(stored()[1][name]).view(is_clear.shape)
    assert is_clear.float().mean() > 0.98
    assert torch.equal(labels[is_clear], expected[is_clear]), name


def same(scores: Tensor, record: str) -> None:
    same_numbers(scores, f"{record}/logits")
    same_classes(to_labels(scores)[0], f"{record}/argmax", scores)


def test_the_encoder_is_dilated_as_the_reference():
    """Stages of dilation 1, 1, 2, 4, the first block of each dilated by the stage before (contract_dilation)."""
    net = model().backbone
    dilated = {
        name: module.dilation
        for name, module in net.encoder.named_modules()
        if isinstance(module, nn.Conv2d) and module.dilation != (1, 1)
    }
    assert dilated == {"layer3.1.conv1": (2, 2), "layer4.0.conv1": (2, 2), "layer4.1.conv1": (4, 4)}
    assert net.strides == (2, 4, 8, 8, 8)


@torch.inference_mode()
def test_whole_image_and_sliding_windows():
    """Also where the window is larger than the image in one direction or both, and where windows only touch."""
    net, x = Remembered(model()), image(2, SIZE)
    for net.align_corners in (False, True):
        end = f"ac{int(net.align_corners)}"
        same(whole(net)(x), f"whole.{end}")
        for crop, stride in SLIDES:
            record = f"slide.{crop[0]}x{crop[1]}.s{stride[0]}x{stride[1]}.{end}"
            same(slide(whole(net), crop, stride=stride)(x), record)
            settings = InferenceSettings(mode="slide", crop=crop, stride=stride)
            same(build_score(net, settings)(x, SIZE), record)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(75, 99), (201, 267)])
def test_original_size(size):
    x, record = image(2, SIZE), f"post.resize.{size[0]}x{size[1]}"
    scores = build_score(model(), InferenceSettings())(x, size)
    same(scores, record)
    # The runner sees the image inside a batch's padding, which must leave no trace.
    batch = torch.full((1, 3, 128, 160), 9.0)
    batch[..., : SIZE[0], : SIZE[1]] = x
    prediction = Semantic().predict(model(), {"image": batch, "meta": [dict(valid=SIZE, size=size)]})[0]
    same_classes(prediction["labels"], f"{record}/argmax", scores)


@torch.inference_mode()
def test_padding_is_removed_before_the_resize():
    """There the last 4 rows and 5 columns are declared padding after the model saw them; padded() cuts in the same
    place, on images that it pads itself (the augmented views below)."""
    x = image(2, SIZE)
    cut = whole(model())(x)[..., :-4, :-5]
    same(at_size(lambda _: cut)(x, (201, 267)), "post.pad.l0r5t0b4.201x267")
    same(at_size(lambda _: cut.flip(-1))(x, (75, 99)), "post.pad.l0r5t0b4.flip.75x99")


@torch.inference_mode()
def test_a_mirrored_image_is_mirrored_back_before_the_resize():
    """The recorded image counts as the mirrored one. Two views' mean, less the plain view, is what is left of it."""
    x, size = image(2, SIZE).flip(-1), (75, 99)
    content, arrays = stored()
    predict, name = whole(model()), "post.flip_h.75x99/logits"
    mirrored = 2 * tta(predict, (1.0,), flip=True)(x, size) - to_probabilities(at_size(predict)(x, size))
    expected = to_probabilities(torch.from_numpy(arrays[name])[None])[0]
    assert error(mirrored[0], expected.numpy(), content["outputs"][name]) < TOLERANCE


@torch.inference_mode()
def test_one_channel_is_a_probability_above_a_threshold():
    net, x, size, settings = model(1), image(2, SIZE), (75, 99), InferenceSettings(threshold=0.45)
    scores = build_score(net, settings)(x, size)
    same_numbers(scores, "post.binary_out1.75x99/logits")
    runner = Semantic(probabilities=True)
    runner.inference = settings
    prediction = runner.predict(net, {"image": x, "meta": [dict(valid=SIZE, size=size)]})[0]
    assert torch.equal(prediction["probabilities"], scores[0])
    expected = torch.from_numpy(stored()[1]["post.binary_out1.75x99/pred"])[0]
    is_clear = (scores[0, 0] - 0.45).abs() > 1e-5
    assert 0 < expected.sum() < expected.numel() and is_clear.float().mean() > 0.98
    assert torch.equal(prediction["labels"][is_clear], expected[is_clear])


def inner(net: nn.Module, settings: InferenceSettings) -> Predict:
    """What test-time augmentation calls for each view."""
    predict = whole(net)
    if settings.mode == "slide":
        predict = slide(predict, settings.crop, stride=settings.stride)
    return padded(predict, settings.pad_divisor, net.mean)


class Recorded:
    """A Predict that checks each view against the recorded one, pixel by pixel, and predicts on the recorded one: there
    images are resized as uint8, here as float."""

    def __init__(self, record: str, predict: Predict):
        arrays = stored()[1]
        resized = [k for k in arrays if k.startswith(f"tta/{record}.view") and k.endswith("image_bgr")]
        self.images = {arrays[k].shape[:2]: photo(k).float() for k in ["tta/image_bgr", *resized]}
        self.predict = predict
        self.seen: list[tuple[tuple[int, int], bool]] = []
        self.logits: list[Tensor] = []

    def __call__(self, image: Tensor) -> Tensor:
        size = tuple(image.shape[-2:])
        both = [self.images[size], self.images[size].flip(-1)]
        differences = [float((image - view).abs().max()) for view in both]
        assert min(differences) <= GREY, differences
        is_mirrored = differences[1] < differences[0]
        self.seen.append((size, is_mirrored))
        self.logits.append(self.predict(both[is_mirrored]))
        return self.logits[-1]


@torch.inference_mode()
@pytest.mark.parametrize("record", VIEWS)
def test_augmented_views(record):
    """Each view's logits, padded to 32 with the mean color and cut, mirrored back and resized; their mean softmax."""
    settings = VIEWS[record]
    predict = Recorded(record, inner(model(is_raw=True), settings))
    mean = tta(predict, settings.tta["scales"], flip=True)(photo(), SIZE)
    assert predict.seen == [(size, is_mirrored) for size in SEEN[record] for is_mirrored in (False, True)]
    same_numbers(mean, f"tta/{record}.mean_probs")
    same_classes(to_labels(mean)[0], f"tta/{record}.pred", mean, margin=1e-5)
    for i, ((_, is_mirrored), logits) in enumerate(zip(predict.seen, predict.logits)):
        upright = logits.flip(-1) if is_mirrored else logits
        same_numbers(at_size(lambda _, x=upright: x)(photo(), SIZE), f"tta/{record}.view{i}.logits")


@torch.inference_mode()
@pytest.mark.parametrize("record, first", [("whole", 2), ("slide", 0)])
def test_augmentation_from_settings(record, first):
    """At scale 1 nothing is resized, so that the two recorded views follow from the image alone."""
    settings = replace(VIEWS[record], tta=dict(scales=(1.0,), flip=True))
    mean = build_score(model(is_raw=True), settings)(photo(), SIZE)
    content, arrays = stored()
    names = [f"tta/{record}.view{i}.logits" for i in (first, first + 1)]
    expected = sum(to_probabilities(torch.from_numpy(arrays[name])[None]) for name in names)[0] / 2
    assert error(mean[0], expected.numpy(), content["outputs"][names[0]]) < TOLERANCE


@torch.inference_mode()
def test_augmentation_of_an_image_through_the_runner():
    """The resize of the views as float costs less than a fiftieth of a deviation of the mean probabilities."""
    runner = Semantic(probabilities=True)
    runner.inference = VIEWS["whole"]
    batch = {"image": photo(), "meta": [dict(valid=SIZE, size=SIZE)]}
    prediction = runner.predict(model(is_raw=True), batch)[0]
    content, arrays = stored()
    name = "tta/whole.mean_probs"
    assert error(prediction["probabilities"], arrays[name], content["outputs"][name]) < 2e-2
    same_classes(prediction["labels"], "tta/whole.pred", prediction["probabilities"][None], margin=1e-3)


@torch.inference_mode()
def test_augmented_probabilities_of_one_channel():
    """There each view's probability goes through the sigmoid once more, here through one alone, so that the threshold
    means the same with and without augmentation. A second sigmoid over our views gives the recorded mean."""
    settings = VIEWS["whole"]
    predict = Recorded("whole", inner(model(1, is_raw=True), settings))
    twice = []
    for scale in settings.tta["scales"]:
        plain = tta(predict, (scale,), flip=False)(photo(), SIZE)
        both = tta(predict, (scale,), flip=True)(photo(), SIZE)
        twice += [plain.sigmoid(), (2 * both - plain).sigmoid()]
    content, arrays = stored()
    entry = content["outputs"]["tta/binary_out1.mean_probs"]
    # Their deviation is .0035 about .6, where one float32 step is 6e-8.
    assert error(sum(twice)[0] / 6, arrays["tta/binary_out1.mean_probs"], entry) * entry["std"] < 5e-7
