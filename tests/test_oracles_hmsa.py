"""Hierarchical multi-scale attention gives the outputs, losses and gradients of NVIDIA's code under equal weights."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.archs.ocrnet import OCRHead
from segkit.config import load_config
from segkit.convert.find_map import choose
from segkit.convert.keymap import load_map
from segkit.criterion import build_criterion
from segkit.losses.binary_cross_entropy import BinaryCrossEntropy
from segkit.losses.rmi import RMI
from segkit.models.bases import Backbone
from segkit.models.hierarchical_segmentor import HierarchicalSegmentor, Member, merge_chain
from segkit.models.layers import resize
from tests.archs_table import build
from tests.oracles import ROOT, TOLERANCE, error, fixture, image, reference_model, weights_of

DEEP = 1e-3
"""Tolerance of the whole network: under these weights its activations reach 1e3, its noise 1.5e-5."""

SIZES = {"A": (0, (64, 96)), "B": (1, (49, 67)), "sharp": (0, (64, 96))}


class Trunk(Backbone):
    """The one convolution and ReLU that stand for HRNet in the chain's numbers."""

    channels, strides = (720,), (4,)
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 720, 7, stride=4, padding=3)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        return [F.relu(self.conv(image))]


@pytest.fixture(scope="module")
def chain() -> tuple[HierarchicalSegmentor, dict, dict[str, np.ndarray]]:
    """The network of the chain's numbers, and what is stored of it."""
    content, stored = fixture("refine", "hmsa_chain")
    head = OCRHead((720,), 19, coarse_levels=(-1,), coarse_channels=720, coarse_kernel=1, dropout=0.05, conv_bias=True)
    net = HierarchicalSegmentor(19, Trunk(), head)
    weights = load_map("hmsa").apply(weights_of(content["names"]))
    weights["attention.score.weight"] *= 4
    weights["head.classifier.weight"] *= 2
    net.load_state_dict(weights, strict=True)
    for module in net.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return net.eval(), content, stored


def held(chain: tuple, name: str, ours: Tensor, tolerance: float = TOLERANCE) -> None:
    _, content, stored = chain
    difference = error(ours.detach(), stored[name], content["outputs"][name])
    assert difference < tolerance, f"{name}: {difference:.1e}"


def predicted(net: HierarchicalSegmentor, x: Tensor, scales: tuple[float, ...]) -> dict[str, Tensor]:
    net.test_scales = scales
    return net(x)


@torch.inference_mode()
@pytest.mark.parametrize("case", ["A", "sharp"])
def test_the_chain_is_the_published_one(chain, case):
    net, _, stored = chain
    x = image(*SIZES[case])
    sharpened = [net.head.relation.query[1].bn.weight, net.head.relation.key[1].bn.weight] if case == "sharp" else []
    attention = [net.attention.score.weight] if case == "sharp" else []
    with multiplied(sharpened, 8), multiplied(attention, 4):
        single = predicted(net, x, (1.0,))
        held(chain, f"{case}/one_scale/cls_out", single["logits"])
        held(chain, f"{case}/one_scale/aux_out", resize(single["scale0.coarse.logits"], like=x))
        two = predicted(net, x, (1.0, 2.0))
        held(chain, f"{case}/one_scale/logit_attn", two["scale0.attention"])
        for name in [name for name in stored if name.startswith(f"{case}/scales_") and name.endswith("pred")]:
            scales = tuple(float(scale) for scale in name.split("/")[1].split("_")[1:])
            outputs = predicted(net, x, scales)
            held(chain, name, outputs["logits"])
            for i, scale in enumerate(scales):
                part = name.replace("pred", f"attn_{scale}x")
                if part in stored:
                    held(chain, part, outputs[f"scale{i}.attention"])
            assert f"scale{scales.index(max(scales))}.attention" not in outputs, "nothing reads it"


class multiplied:
    """Weights times a factor for a while."""

    def __init__(self, weights: list[Tensor], factor: float):
        self.weights, self.factor = weights, factor

    def __enter__(self) -> None:
        for weight in self.weights:
            weight.data *= self.factor

    def __exit__(self, *_: object) -> None:
        for weight in self.weights:
            weight.data /= self.factor


def free_maps(scales: tuple[float, ...]) -> Iterator[Member]:
    """Stored numbers at the size of each scaled image of 30 x 44, from the largest scale on."""

    def drawn(seed: int, channels: int, size: tuple[int, int]) -> Tensor:
        small = np.random.RandomState(seed).standard_normal((1, channels, 6, 8)).astype(np.float32)
        return F.interpolate(torch.from_numpy(small), size, mode="bilinear", align_corners=False)

    for i, scale in enumerate(sorted(scales, reverse=True)):
        size = (int(30 * scale), int(44 * scale))
        yield Member(scale, 2 * drawn(100 + i, 4, size), (2 * drawn(300 + i, 1, size)).sigmoid())


@pytest.mark.parametrize("scales", [(0.5, 1.0), (0.5, 1.0, 2.0)])
def test_the_combination_alone(chain, scales):
    held(chain, "free/" + "_".join(map(str, scales)), merge_chain(free_maps(scales)), 1e-6)


def test_larger_scales_come_down_and_smaller_ones_go_up():
    """By hand on maps of one value: 1.5 and 2 above the image, 0.5 below it."""
    flat = {2.0: (8.0, 0.9), 1.5: (4.0, 0.25), 1.0: (1.0, 0.5), 0.5: (2.0, 0.125)}
    sizes = {scale: (int(4 * scale), int(8 * scale)) for scale in flat}
    members = (
        Member(s, torch.full((1, 1, *sizes[s]), p), torch.full((1, 1, *sizes[s]), a)) for s, (p, a) in flat.items()
    )
    merged = merge_chain(members)
    # .25 * 4 + .75 * 8 = 7; .5 * 1 + .5 * 7 = 4; .125 * 2 + .875 * 4 = 3.75
    assert merged.shape == (1, 1, 4, 8)
    assert torch.allclose(merged, torch.full((1, 1, 4, 8), 3.75), atol=1e-6)


def rows(*, has_aux_rmi: bool) -> list[dict]:
    """The losses of the model's config; the published code has an option for RMI on the coarse logits."""
    losses = load_config(ROOT / "configs/_base_/models/hmsa_hr48.py", ["num_classes=19"])["losses"]
    coarse = dict(type="RMI", on="coarse.logits", target="mask", weight=0.4, extra_pixels=1)
    return [losses[0], coarse, *losses[2:]] if has_aux_rmi else losses


@pytest.mark.parametrize("has_aux_rmi", [False, True])
def test_training_at_two_scales_is_the_published_one(chain, has_aux_rmi, monkeypatch):
    """In float64, since the rounding of float32 alone moves these gradients by 1e-5."""
    net, _, stored = chain
    case = f"aux_rmi_{has_aux_rmi}"
    start = {name: value.clone() for name, value in net.state_dict().items()}
    x = torch.from_numpy(np.random.RandomState(2).standard_normal((2, 3, 64, 96)))
    batch = dict(image=x, mask=torch.from_numpy(stored["train/labels"]).long())
    monkeypatch.setattr(net, "normalize", lambda image: image)
    net.double().train().zero_grad()
    try:
        loss = sum(build_criterion(rows(has_aux_rmi=has_aux_rmi))(net(x.float().double()), batch, 0).values())
        loss.backward()
        assert loss.item() == pytest.approx(float(stored[f"train/loss_{case}"]), rel=1e-6)
        keys = load_map("hmsa")
        names = [name for name in stored if name.startswith(f"train/grad_{case}/")]
        assert len(names) == 5
        for name in names:
            published = name.partition(f"{case}/")[2]
            gradient = net.get_parameter(keys.rename(published)[0]).grad.flatten()
            part = gradient[: len(stored[name])].numpy()
            assert np.abs(part - stored[name]).max() < 1e-5 * gradient.abs().max().item(), published
            total = float(stored[f"train/grad_abs_sum_{case}/{published}"])
            assert gradient.abs().sum().item() == pytest.approx(total, rel=1e-5), published
        # of both scales, the smaller one first
        held(chain, "train/bn/scale_attn.bn0.running_mean", net.get_buffer("attention.convs.0.bn.running_mean"))
    finally:
        net.float().eval().load_state_dict(start)


@torch.no_grad()
def test_two_scales_in_training_mode_are_the_chain(chain):
    """With the statistics of evaluation the merged logits and each scale's own are those stored."""
    net, _, _ = chain
    x = image(*SIZES["A"])
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    outputs = net(x)
    net.eval()
    held(chain, "A/two_scale/pred", outputs["logits"])
    held(chain, "A/two_scale/attn_05x", outputs["scale0.attention"])
    held(chain, "A/two_scale/pred_05x", outputs["scale0.resized.logits"])
    assert outputs["scale1.resized.logits"].shape == outputs["coarse.logits"].shape == (1, 19, 64, 96)


@pytest.mark.parametrize(
    ("case", "loss", "factor"),
    [
        ("default", RMI(extra_pixels=1), 1.0),
        ("pool2", RMI(stride=2, extra_pixels=1), 1.0),
        ("lambda_add", RMI(weight=2 / 3, extra_pixels=1), 1.5),  # BCE + R / 2
        ("bce_only", RMI(weight=1.0, extra_pixels=1), 1.0),
        ("bce_only", BinaryCrossEntropy(sum_classes=True, extra_pixels=1), 1.0),
    ],
)
def test_rmi_and_its_gradients(case, loss, factor):
    content, stored = fixture("refine", "hmsa_rmi")
    small = torch.from_numpy(stored["logits_16x24"])
    logits = F.interpolate(small, (64, 96), mode="bilinear", align_corners=False).requires_grad_()
    value = factor * loss(logits, torch.from_numpy(stored["labels"]).long())
    assert value.item() == pytest.approx(float(stored[f"{case}/loss"]), rel=1e-5)
    if f"{case}/grad" not in stored:
        return
    value.backward()
    entry = {**content["outputs"][f"{case}/grad"], "std": content["outputs"][f"{case}/grad"]["absmax"]}
    assert error(logits.grad, stored[f"{case}/grad"], entry) < 1e-5
    assert logits.grad.abs().sum().item() == pytest.approx(float(stored[f"{case}/grad_abs_sum"]), rel=1e-5)


def test_names_match_one_to_one_and_the_map_is_found():
    names = {name: tuple(shape) for name, shape in fixture("refine", "hmsa_hrnet48")[0]["names"].items()}
    net = build("hmsa_hr48", 11, ("num_classes=19", "model.backbone.pretrained=None"), device="meta")
    assert f"{len(net.state_dict())} tensors matched" in load_map("hmsa").check(names, net.state_dict())
    assert len(names) == len(net.state_dict())
    found, chosen = choose(names, net)
    assert found == "hmsa" and chosen is load_map("hmsa")


@torch.no_grad()
def test_convolutions_of_one_scale_cost_what_is_published():
    """Multiply-additions of a 512 x 1024 image, the attention included."""
    options = ("model.backbone.pretrained=None", "model.test_scales=[1.0]")
    net = build("hmsa_hr48", 19, options, device="meta").eval().to("meta")
    with FlopCounterMode(display=False) as counter:
        net.attention(net(torch.empty(1, 3, 512, 1024, device="meta"))["scale0.embedding"])
    flops = {str(operation): number for operation, number in counter.get_flop_counts()["Global"].items()}
    assert flops["aten.convolution"] == 2 * 381_827_350_528


@pytest.mark.slow
@torch.inference_mode()
def test_the_whole_network():
    content, stored = fixture("refine", "hmsa_hrnet48")
    options = ("num_classes=19", "model.backbone.pretrained=None", "model.test_scales=[1.0,2.0]")
    net = reference_model("hmsa_hr48", "hmsa", content["names"], options)
    x = image(0, (64, 96))
    outputs = net(x)
    ours = {
        "one_scale/cls_out": resize(outputs["scale0.logits"], like=x),
        "one_scale/aux_out": resize(outputs["scale0.coarse.logits"], like=x),
        "one_scale/logit_attn": outputs["scale0.attention"],
    }
    assert stored.keys() == ours.keys()
    for name, array in stored.items():
        difference = error(ours[name], array, content["outputs"][name])
        assert difference < DEEP, f"{name}: {difference:.1e}"
