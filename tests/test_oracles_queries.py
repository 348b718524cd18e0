"""Networks of queries under published weights' names give the published outputs, costs, losses and gradients."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from segkit.api import load_model, predict, train
from segkit.config import load_config
from segkit.convert.find_map import choose
from segkit.convert.keymap import load_map
from segkit.inference import as_shares, build_score
from segkit.losses.instances import mask2former_masks
from segkit.losses.instances.mask2former_masks import Mask2FormerMasks, Mask2FormerSemantic
from segkit.losses.instances.maskformer_semantic import MaskFormerSemantic
from segkit.ops.instances.class_masks import class_masks
from segkit.ops.instances.focal import focal_costs
from segkit.ops.instances.matching import class_costs, hungarian
from segkit.ops.instances.point_masks import at_places, mask_costs, masks_at_places
from segkit.ops.instances.query_results import semantic_scores
from segkit.ops.resizing import resize
from segkit.registry import build_model
from segkit.runners.semantic import Semantic
from segkit.settings import InferenceSettings
from tests.arch_rows.queries import DETR
from tests.archs_table import build
from tests.oracles import ROOT, fixture, image
from tests.test_layer_decay import PUBLISHED, given
from tests.test_oracles_modern import CASES, compare, weights_of

MODELS = {
    "maskformer_r50_ade": ("maskformer/maskformer_r50_160k_ade20k_512x512", "mmseg_maskformer"),
    "hf_maskformer_swin-t": ("maskformer/maskformer_swin-t_160k_ade20k_512x512", "hf_maskformer"),
    "knet_r50-d8_upernet": ("knet/knet_upernet_r50_80k_ade20k_512x512", "mmseg_knet"),
    "mask2former_r50_ade": ("mask2former/mask2former_r50_160k_ade20k_512x512", "mmseg_mask2former"),
    "hf_mask2former_swin-t": ("mask2former/mask2former_swin-t_160k_ade20k_512x512", "hf_mask2former"),
}
"""Fixture -> published config, key map."""


def model_of(config: str, device: str = "cpu") -> nn.Module:
    cfg = load_config(ROOT / f"configs/{config}.py", ["model.backbone.pretrained=None"])
    with torch.device(device):
        return build_model(cfg["model"])


def network(name: str) -> tuple[nn.Module, dict, dict]:
    """The network of a published config with the reference's weights, in eval; its input is normalized already."""
    config, key_map = MODELS[name]
    content, stored = fixture("modern", name)
    net, keys = model_of(config), load_map(key_map)
    keys.check({key: tuple(shape) for key, shape in content["names"].items()}, net.state_dict())
    kept = {key: shape for key, shape in content["names"].items() if keys.rename(key)[0]}
    net.load_state_dict(keys.apply(weights_of(kept)), strict=True)
    net.mean, net.std = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    return net.eval(), content, stored


@pytest.mark.slow
@torch.inference_mode()
def test_mask2former_is_mmsegmentations():
    net, content, stored = network("mask2former_r50_ade")
    for case in ("A", "B"):
        x = image(*CASES[case])
        features = net.backbone(x)[-4:]  # without the stem's
        memories, mask_features = net.head.pixels(features)
        outputs = net(x)
        ours = {f"backbone.{i}": feature for i, feature in enumerate(features)}
        ours |= {f"memories.{i}": memory for i, memory in enumerate(memories)} | {"mask_features": mask_features}
        for i in (0, 3, 9):
            ours |= {f"class_logits.{i}": outputs["class_logits"][i], f"masks.{i}": outputs["mask_logits"][i]}
        ours["final"] = net.maps(outputs, CASES[case][1])
        kept = {key: value for key, value in ours.items() if f"{case}/{key}" in stored}  # of some only statistics
        assert len(kept) == sum(name.startswith(f"{case}/") for name in stored)
        compare(kept, case, stored, content)


@torch.inference_mode()
def test_mask2former_is_hugging_faces():
    net, content, stored = network("hf_mask2former_swin-t")
    outputs = net(image(*CASES["A"]))
    classes, masks = outputs["class_logits"], outputs["mask_logits"]
    ours = {"class_logits": classes[-1], "masks": masks[-1], "semantic": net.maps(outputs, CASES["A"][1])}
    for i in (0, 3):
        ours |= {f"aux_class.{i}": classes[i], f"aux_masks.{i}": masks[i]}
    compare(ours, "A", stored, content)


@pytest.mark.slow
@torch.inference_mode()
def test_maskformer_is_hugging_faces():
    net, content, stored = network("hf_maskformer_swin-t")
    outputs = net(image(*CASES["A"]))
    ours = {"class_logits": outputs["class_logits"][-1], "masks": outputs["mask_logits"][-1]}
    compare(ours, "A", stored, content)


@torch.inference_mode()
@pytest.mark.parametrize("case", [pytest.param("A", marks=pytest.mark.slow), "B"])
def test_maskformer_is_mmsegmentations(case):
    net, content, stored = network("maskformer_r50_ade")
    x = image(*CASES[case])
    outputs = net(x)
    ours = {f"backbone.{i}": feature for i, feature in enumerate(net.backbone(x)[-4:])}
    for i in (0, 3, 5):
        ours |= {f"class_logits.{i}": outputs["class_logits"][i], f"masks.{i}": outputs["mask_logits"][i]}
    compare({**ours, "final": net.maps(outputs, CASES[case][1])}, case, stored, content)


@torch.inference_mode()
@pytest.mark.parametrize("case", [pytest.param("A", marks=pytest.mark.slow), "B"])
def test_knet_is_mmsegmentations(case):
    net, content, stored = network("knet_r50-d8_upernet")
    x = image(*CASES[case])
    features, logits = net.backbone(x)[-4:], net(x)["logits"]
    ours = {f"backbone.{i}": feature for i, feature in enumerate(features)} | {"decode_head": logits}
    ours |= {"auxiliary_head": net.aux[0](features)["logits"], "final": resize(logits, like=x)}
    compare(ours, case, stored, content)


@pytest.mark.parametrize(
    "config, total, head",
    [
        ("knet/knet_fcn_r50_80k_ade20k_512x512", 62_810_508, 36_884_886),
        # the generator is the published PSPNet's and DeepLabv3's head in place of FCN's
        ("knet/knet_psp_r50_80k_ade20k_512x512", 62_810_508 - 522_240, 36_884_886 - 522_240),
        ("knet/knet_deeplabv3_r50_80k_ade20k_512x512", 62_810_508 + 18_615_296, 36_884_886 + 18_615_296),
        ("knet/knet_upernet_swin-t_80k_ade20k_512x512", 73_153_766, 44_709_270),
        # the published Swin-S of UPerNet, and the head on Swin-T
        ("maskformer/maskformer_swin-s_160k_ade20k_512x512", 48_838_602 + 14_236_311, 14_236_311),
        # the published network at 512: other classes, 100 more queries, positions for 640
        (
            "eomt/eomt_dinov2-l_89k_coco_instance_640",
            316_020_887 - 70 * 1025 + 100 * 1024 + (40**2 - 32**2) * 1024,
            11_819_159 - 70 * 1025 + 100 * 1024,
        ),
        (
            "eomt/eomt_dinov2-l_89k_coco_panoptic_640",
            316_020_887 - 17 * 1025 + 100 * 1024 + (40**2 - 32**2) * 1024,
            11_819_159 - 17 * 1025 + 100 * 1024,
        ),
        ("mask2former/mask2former_swin-l_160k_ade20k_640x640", 215_488_779, 20_287_575),
        ("mask2former/mask2former_r50_90k_cityscapes_512x1024", 44_007_700, 20_499_668),
    ],
)
def test_sizes_of_other_published_networks(config, total, head):
    net = model_of(config, "meta")
    counts = [sum(p.numel() for p in part.parameters()) for part in (net, net.head)]
    assert counts == [total, head]


@pytest.mark.parametrize("name", MODELS)
def test_names_match_one_to_one_and_the_map_is_found(name):
    config, key_map = MODELS[name]
    content, _ = fixture("modern", name)
    net = model_of(config, "meta")
    load_map(key_map).check({key: tuple(shape) for key, shape in content["names"].items()}, net.state_dict())
    found, _ = choose({key: tuple(shape) for key, shape in content["names"].items()}, net)
    assert found == key_map


def old_name(name: str) -> str:
    """mmdetection 3's names -> those of mmdetection 2."""
    for new, old in ((".cross_attn.", ".attentions.0."), (".ffn.layers.", ".ffns.0.layers.")):
        name = name.replace(new, old)
    return name.replace(".self_attn.", ".attentions.0." if "pixel_decoder" in name else ".attentions.1.")


def test_names_of_mmdetection_2_load_as_well():
    content, _ = fixture("modern", "mask2former_r50_ade")
    keys = load_map("mmseg_mask2former")
    assert any(old_name(name) != name for name in content["names"])
    assert all(keys.rename(old_name(name))[0] == keys.rename(name)[0] for name in content["names"])


ORIGINAL = {
    "sem_seg_head.pixel_decoder.input_proj.0.0.weight": "head.pixels.inputs.0.conv.weight",
    "sem_seg_head.pixel_decoder.transformer.level_embed": "head.pixels.level_embedding",
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.5.self_attn.value_proj.bias": (
        "head.pixels.layers.5.attention.values.bias"
    ),
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.linear2.bias": "head.pixels.layers.0.feed_forward.2.bias",
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.norm2.bias": "head.pixels.layers.0.norms.1.bias",
    "sem_seg_head.pixel_decoder.adapter_1.norm.weight": "head.pixels.lateral.norm.weight",
    "sem_seg_head.pixel_decoder.layer_1.weight": "head.pixels.output.conv.weight",
    "sem_seg_head.predictor.static_query.weight": "head.query_features",
    "sem_seg_head.predictor.query_embed.weight": "head.query_embedding",
    "sem_seg_head.predictor.transformer_self_attention_layers.8.self_attn.in_proj_weight": (
        "head.layers.8.self_attention.in_proj_weight"
    ),
    "sem_seg_head.predictor.transformer_cross_attention_layers.8.norm.weight": "head.layers.8.norms.0.weight",
    "sem_seg_head.predictor.transformer_ffn_layers.0.linear1.weight": "head.layers.0.feed_forward.0.weight",
    "sem_seg_head.predictor.mask_embed.layers.2.bias": "head.masks.4.bias",
    "backbone.stem.conv1.norm.running_mean": "backbone.encoder.bn1.running_mean",
    "backbone.res5.0.shortcut.norm.bias": "backbone.encoder.layer4.0.downsample.1.bias",
    "backbone.res2.2.conv3.norm.weight": "backbone.encoder.layer1.2.bn3.weight",
}


def test_names_of_the_authors_are_ours():
    """Written down from their modules: there is no file at hand."""
    state = model_of("mask2former/mask2former_r50_160k_ade20k_512x512", "meta").state_dict()
    keys = load_map("mask2former")
    for name, ours in ORIGINAL.items():
        assert keys.rename(name)[0] == ours and ours in state, name
    swin = model_of("mask2former/mask2former_swin-t_160k_ade20k_512x512", "meta").state_dict()
    for name in ("layers.0.downsample.reduction.weight", "layers.2.blocks.5.attn.relative_position_bias_table"):
        assert load_map("mask2former_swin").rename(f"backbone.{name}")[0] in swin


@pytest.mark.parametrize(
    "name, config, key_map",
    [
        ("mask2former_r50_ade", "mask2former/mask2former_r50_160k_ade20k_512x512", "mmseg_mask2former"),
        ("mask2former_swin-t_ade", "mask2former/mask2former_swin-t_160k_ade20k_512x512", "mmseg_mask2former"),
        ("knet_swin-t_upernet", "knet/knet_upernet_swin-t_80k_ade20k_512x512", "mmseg_knet_swin"),
    ],
)
def test_rates_and_decays_are_mmsegmentations(name, config, key_map):
    """So are the names of networks on Swin, one to one."""
    section = load_config(ROOT / f"configs/{config}.py")["optimizer"]
    found = given(model_of(config, "meta"), section)
    base = PUBLISHED[name]["base"]
    assert (base["lr"], base["weight_decay"]) == (section["lr"], section["weight_decay"])
    keys = load_map(key_map)
    published = {keys.rename(key)[0]: values for key, values in PUBLISHED[name]["factors"].items()}
    assert published.keys() == found.keys()
    for own, values in published.items():
        assert found[own] == pytest.approx(tuple(values), rel=1e-6), own


@pytest.fixture(scope="module")
def numbers() -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in fixture("modern", "query_losses")[1].items()}


def test_targets_costs_and_matches_are_the_published_ones(numbers):
    """In float64 at fixed points. Pixels of 255 are in no mask, and count in every one."""
    for i in range(2):
        labels, masks = class_masks(numbers["in/semantic"][i].long(), 255)
        assert labels.tolist() == list(range(3 + i)) and (masks.sum(0) == (numbers["in/semantic"][i] != 255)).all()
        points = numbers["in/points"][i : i + 1].double()
        found = at_places(numbers["in/mask_logits"][i].double(), points)
        true = masks_at_places(masks, torch.arange(len(masks)), points)
        assert torch.allclose(found, numbers[f"points/{i}/pred"], atol=1e-12)
        assert torch.allclose(true, numbers[f"points/{i}/truth"], atol=1e-12)
        entropy, dice = mask_costs(found, true)
        small = F.interpolate(masks[None].double(), (16, 20), mode="nearest")[0].flatten(1)
        focal = focal_costs(numbers["in/mask_logits"][i].double().flatten(1), small)
        assert torch.allclose(focal, numbers[f"maskformer_cost/{i}/focal"], atol=1e-12)
        category = class_costs(numbers["in/class_logits"][i].double(), labels)
        for name, values in (("mask", entropy), ("dice", dice), ("class", category)):
            assert torch.allclose(values, numbers[f"cost/{i}/{name}"], atol=1e-12), name
        ((queries, objects),) = hungarian([2 * category + 5 * entropy + 5 * dice])
        assert torch.equal(torch.stack([queries, objects]), numbers[f"match/{i}"])


def test_the_loss_and_its_gradients_are_the_published_ones(numbers, monkeypatch):
    """In float64; every draw of points gives those of the reference, image by image."""
    content, _ = fixture("modern", "query_losses")
    points = numbers["in/points"].double()
    draws = iter([points[:1], points[1:]])
    monkeypatch.setattr(mask2former_masks.torch, "rand", lambda *size, **options: next(draws))
    places = iter([points[:1], points[1:]])
    monkeypatch.setattr(mask2former_masks, "uncertain_places", lambda logits, *rest: next(places))
    classes, maps = (numbers[f"in/{name}"].double().requires_grad_() for name in ("class_logits", "mask_logits"))
    terms = Mask2FormerSemantic(points=64)([classes], [maps], numbers["in/semantic"].long())
    published = content["mask2former"]
    expected = {"category": 2 * published["class"], "mask": 5 * published["mask"], "dice": 5 * published["dice"]}
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected, rel=1e-9)
    sum(terms.values()).backward()
    assert torch.allclose(classes.grad, numbers["grad/class_logits"], atol=1e-10)
    assert torch.allclose(maps.grad, numbers["grad/mask_logits"], atol=1e-10)


def test_semantic_scores_are_the_published_ones(numbers):
    """Masks are resized before the sigmoid, and every fourth pixel was stored."""
    scores = semantic_scores(numbers["in/class_logits"], numbers["in/mask_logits"], (64, 80))
    assert torch.allclose(scores[..., ::4, ::4], numbers["semantic_scores_4"], atol=1e-6)


def test_a_crop_of_ignored_pixels_has_no_masks_and_a_loss():
    """Only the class no object is learnt: the mean of its cross entropy."""
    labels, masks = class_masks(torch.full((8, 8), 255), 255)
    assert labels.shape == (0,) and masks.shape == (0, 8, 8)
    classes, maps = torch.randn(1, 5, 4, requires_grad=True), torch.randn(1, 5, 2, 2, requires_grad=True)
    terms = Mask2FormerSemantic(points=16)([classes], [maps], torch.full((1, 8, 8), 255))
    expected = 2 * F.cross_entropy(classes[0], torch.full((5,), 3)).item()
    assert terms["category"].item() == pytest.approx(expected, rel=1e-6)
    assert terms["mask"].item() == terms["dice"].item() == 0
    sum(terms.values()).backward()
    assert maps.grad is not None and not maps.grad.any()


def slow_maskformer(classes: Tensor, maps: Tensor, target: Tensor) -> dict[str, float]:
    """One image, one set, every assignment tried; the formulas as the paper writes them."""
    labels = [k for k in target.unique().tolist() if k != 255]
    true = torch.stack([(target == k).double() for k in labels])
    small = F.interpolate(true[None], maps.shape[1:], mode="nearest")[0].flatten(1)

    def focal(x: Tensor, t: Tensor) -> Tensor:
        p = x.sigmoid()
        return torch.where(t == 1, -0.25 * (1 - p) ** 2 * p.log(), -0.75 * p**2 * (1 - p).log()).mean()

    def dice(x: Tensor, t: Tensor) -> Tensor:
        p = x.sigmoid()
        return 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)

    def cost(pair: tuple[int, ...]) -> float:
        pairs = [(maps[q].flatten(), small[k], classes[q].softmax(0)[labels[k]]) for k, q in enumerate(pair)]
        return float(sum(20 * focal(x, t) + dice(x, t) - p for x, t, p in pairs))

    best = min(itertools.permutations(range(len(maps)), len(labels)), key=cost)
    large = F.interpolate(maps[None], target.shape, mode="bilinear")[0].flatten(1)
    wanted = torch.full((len(maps),), classes.shape[1] - 1)
    wanted[list(best)] = torch.tensor(labels)
    weights = torch.tensor([1.0] * (classes.shape[1] - 1) + [0.1], dtype=torch.float64)
    matched = [(large[q], true[k].flatten()) for k, q in enumerate(best)]
    return {
        "category": float(F.cross_entropy(classes, wanted, weights)),
        "mask": 20 * float(sum(focal(x, t) for x, t in matched)) / len(labels),
        "dice": float(sum(dice(x, t) for x, t in matched)) / len(labels),
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_maskformer_equals_the_slow_form(seed):
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    maps = torch.randn(4, 5, 7, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 3, (13, 20), generator=generator)
    target[:3] = 255
    terms = MaskFormerSemantic()([classes[None]], [maps[None]], target[None])
    expected = slow_maskformer(classes, maps, target)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected, rel=1e-9)


class Largest(TorchDispatchMode):
    """Keeps the bytes of the largest tensor that an operation gives while it is on."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, list | tuple) else [result]:
            if isinstance(value, Tensor) and not any(value is arg for arg in args):
                fresh = value.untyped_storage().nbytes() if value._base is None else 0
                self.most = max(self.most, fresh)
        return result


def test_no_loss_at_points_holds_the_masks_of_all_objects_again():
    """40 objects of 256 x 256 are 2.6 MB; queries, points and the head's gradient stay below a fifth of them."""
    masks = torch.zeros(40, 256, 256, dtype=torch.uint8)
    masks[:, 20:80, 30:90] = 1
    classes = torch.randn(1, 20, 4, requires_grad=True)
    maps = torch.randn(1, 20, 64, 64, requires_grad=True)
    with Largest() as largest:
        terms = Mask2FormerMasks(points=500)([classes], [maps], [torch.zeros(40, dtype=torch.int64)], [masks])
        sum(terms.values()).backward()
    assert maps.grad is not None and largest.most < masks.numel() / 5


def test_scores_of_queries_are_averaged_and_never_become_probabilities_again():
    """Windows and views give means of scores; sigmoid and softmax would flatten them."""
    model = tiny()
    x = torch.randint(0, 256, (1, 3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        plain = model.maps(model(x), (64, 96))
        assert torch.allclose(build_score(model, InferenceSettings())(x, (64, 96)), plain)
        turned = model.maps(model(x.flip(-1)), (64, 96)).flip(-1)
        views = InferenceSettings(tta=dict(scales=[1.0], flip=True))
        assert torch.allclose(build_score(model, views)(x, (64, 96)), (plain + turned) / 2, atol=1e-6)
        left, right = (model.maps(model(x[..., a : a + 64]), (64, 64)) for a in (0, 32))
        windows = InferenceSettings(mode="slide", crop=(64, 64), stride=(64, 32))
        scores = build_score(model, windows)(x, (64, 96))
        assert torch.allclose(scores[..., :32], left[..., :32]) and torch.allclose(scores[..., 64:], right[..., 32:])
        assert torch.allclose(scores[..., 32:64], (left[..., 32:] + right[..., :32]) / 2, atol=1e-6)
        runner = Semantic(probabilities=True)
        meta = dict(id="a", path="a", size=(64, 96), valid=(64, 96))
        (prediction,) = runner.predict(model, dict(image=x, meta=[meta]))
    assert torch.allclose(prediction["probabilities"], plain[0])
    assert torch.equal(prediction["labels"], plain[0].argmax(0).to(torch.uint8))


def tiny() -> nn.Module:
    torch.manual_seed(0)
    options = ("model.backbone.name='resnet10t'", *DETR[1:])
    return build("maskformer_r50", 3, options).eval()


def test_refiners_are_given_shares_in_the_order_of_the_scores():
    """By hand: 3 and 1 of 4 in all become .75 and .25; scores of less than 1 in all stay."""
    scores = torch.tensor([[[[3.0, 0.2]], [[1.0, 0.3]]]])
    assert torch.allclose(as_shares(scores), torch.tensor([[[[0.75, 0.2]], [[0.25, 0.3]]]]))


def test_a_label_map_trains_a_head_with_queries(tmp_path):
    """Three steps of the runner Semantic, a checkpoint, and the prediction of api.predict from it."""
    cfg = dict(
        model=dict(
            num_classes=6,
            backbone=dict(type="Timm", name="resnet10t"),
            head=dict(type="MaskFormerHead", channels=32, num_queries=8, layers=1, inner=32, heads=2),
        ),
        losses=[dict(type="MaskFormerSemantic")],
        train=dict(batch_size=2, dataset=dict(type="Shapes", size=(64, 64), length=6)),
        val=dict(dataset=dict(type="Shapes", size=(64, 64), split="val", length=2)),
        optimizer=dict(type="AdamW", lr=1e-3),
        loop=dict(steps=3, clip=0.01, eval_every=3),
    )
    result = train(cfg, tmp_path / "run", device="cpu")
    model = load_model(None, tmp_path / "run" / "last.pt")
    prediction = predict(model, torch.zeros(40, 50, 3, dtype=torch.uint8).numpy())
    assert result and prediction["labels"].shape == (40, 50)
