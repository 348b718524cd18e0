"""Plain Vision Transformers with windows, late fusion of clicks, one encoding for many answers, squashed views."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit.backbones.plain_vit import PlainViT, into_windows, out_of_windows
from segkit.export.parts import Request, parts_of
from segkit.models.click_fusion import CrossFusion, SumFusion
from segkit.models.click_segmentor import Encoded, joined
from segkit.registry import ConfigError, build_model
from segkit.runners.interactive.advance import Advance
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.runner import Interactive
from segkit.runners.interactive.session import Session
from segkit.runners.interactive.zoom import Box, choose_box, view_of, wants_second_pass, whole
from segkit.settings import ClickInference, ZoomSettings
from tests.interactive.test_click_training import Fixed

SMALL = dict(width=8, depth=2, heads=2, patch_size=4, img_size=(16, 16), window=8, global_every=2)
SQUASH = ZoomSettings(squash=True, target=(24, 32))


def section(**own) -> dict:
    return dict(
        type="ClickSegmentor",
        num_classes=1,
        align_corners=True,
        scheme="Patch",
        radius=2,
        backbone=dict(type="PlainViT", **SMALL),
        neck=dict(type="ClickPyramid", channels=(4, 4, 4, 4)),
        head=dict(type="SimpleClickHead", channels=8),
    ) | dict(own)


def late(**own) -> dict:
    return {key: value for key, value in section().items() if key != "scheme"} | dict(
        type="LateClickSegmentor", fusion_heads=2, fusion_depth=1, **own
    )


def batch(size: tuple[int, int] = (32, 32)) -> dict:
    rng = torch.Generator().manual_seed(0)
    clicks = torch.full((2, 4, 3), -1.0)
    clicks[:, 0] = torch.tensor([14.0, 16, 0])
    mask = torch.zeros(2, *size)
    mask[:, 8:24, 8:24] = 1
    image = torch.randint(0, 256, (2, 3, *size), generator=rng, dtype=torch.uint8)
    return dict(image=image, clicks=clicks, mask=mask)


def test_windows_by_hand():
    tokens = torch.arange(24).view(1, 24, 1)  # 4 rows of 6
    cut = into_windows(tokens, (4, 6), (2, 2))
    assert cut[..., 0].tolist() == [
        [0, 1, 2, 6, 7, 8],
        [3, 4, 5, 9, 10, 11],
        [12, 13, 14, 18, 19, 20],
        [15, 16, 17, 21, 22, 23],
    ]
    two = torch.randn(2, 24, 3)
    assert torch.equal(out_of_windows(into_windows(two, (4, 6), (2, 3)), (4, 6), (2, 3)), two)
    assert torch.equal(into_windows(two, (4, 6), (2, 2))[4:], into_windows(two[1:], (4, 6), (2, 2)))


@torch.no_grad()
@pytest.mark.parametrize("every, reaches", [(3, False), (2, True), (1, True)])
def test_only_global_blocks_see_other_windows(every, reaches):
    torch.manual_seed(0)
    backbone = PlainViT(**{**SMALL, "global_every": every})
    image = torch.randn(1, 3, 16, 16)
    other = image.clone()
    other[..., :4, :4] += 1  # in the first of four windows
    (before,), (after,) = backbone(image), backbone(other)
    changed = (before != after).any(1)[0]
    assert changed[:2, :2].all() and changed[2:, 2:].any() == reaches
    last = PlainViT(**{**SMALL, "global_every": 3, "global_last": True})
    assert last.is_global == [False, True] and PlainViT(**{**SMALL, "depth": 6}).is_global == [False, True] * 3


def test_sizes_and_their_padding():
    with torch.device("meta"):
        backbone = PlainViT(8, 1, 2)
    # as the published code runs: windows of 14, 15, 12.5 -> 25, 24 and 15 patches
    sizes = {224: 14, 448: 28, 480: 30, 400: 25, 384: 24, 720: 45, 896: 56, 1024: 64, 336: 21}
    for side, cells in sizes.items():
        assert backbone.padded_grid((side, 448)) == (cells, 28), side
    assert backbone.padded_grid((600, 600)) == (38, 38), "37.5 patches; the published code cannot"
    assert backbone.padded_grid((29 * 16, 5)) == (30, 1), "29 patches are no two windows"
    small = PlainViT(**SMALL)
    for size in ((3, 5), (21, 30), (16, 16)):
        added = torch.zeros(2, 8, -(-size[0] // 4), -(-size[1] // 4))
        (features,) = small(torch.randn(2, 3, *size), added)
        assert features.shape == added.shape


def pretrained(side: int = 3, **own) -> dict[str, Tensor]:
    """Weights by timm's names, with what only a classifier has."""
    state = PlainViT(**SMALL).state_dict()
    names = {key: key.replace("patch_embed.", "patch_embed.proj.").removeprefix("encoder.") for key in state}
    weights = {names[key]: torch.randn_like(value) for key, value in state.items()}
    extra = dict(pos_embed=torch.randn(1, 1 + side * side, 8), cls_token=torch.zeros(1, 1, 8))
    return weights | extra | {"norm.weight": torch.ones(8)} | own


def test_pretrained_weights():
    given = pretrained(4)
    backbone = PlainViT(**SMALL, pretrained=lambda: given)
    assert backbone.is_pretrained and torch.equal(backbone.pos_embed, given["pos_embed"][:, 1:])
    assert torch.equal(backbone.patch_embed.weight, given["patch_embed.proj.weight"])
    assert PlainViT(**SMALL, pretrained=pretrained).pos_embed.shape == (1, 16, 8)
    for weights, message in (
        (pretrained(pos_embed=torch.zeros(1, 13, 8)), "13 rows, which are no square"),
        (pretrained(**{"blocks.0.norm1.weight": torch.ones(4)}), r"blocks\.0\.norm1\.weight \(4,\)"),
        ({}, "of another encoder: 27 of 27"),
    ):
        with pytest.raises(ConfigError, match=message):
            PlainViT(**SMALL, pretrained=lambda weights=weights: weights)
    with pytest.raises(ConfigError, match="no published weights of width 8, depth 2 and patches of 4"):
        PlainViT(**SMALL, pretrained=True)


def test_what_does_not_fit_is_said():
    with pytest.raises(ConfigError, match=r"width = 9: must be a multiple of backbone\.heads = 2"):
        PlainViT(**{**SMALL, "width": 9})
    with pytest.raises(ConfigError, match=r"img_size = \(2, 16\): holds no patch of 4"):
        PlainViT(**{**SMALL, "img_size": (2, 16)})
    for own, message in (
        (dict(neck=dict(type="ClickPyramid", channels=(4, 4))), r"neck\.channels = \(4, 4\): must be four"),
        (dict(head=dict(type="SimpleClickHead", channels=6, upsample=4)), r"upsample = 4: must be 1, 2 or 4, and div"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_model(section(**own))
    for own, message in (
        (dict(fusion="sum"), "fusion = 'sum': must be one of self, cross"),
        (dict(fusion="cross", fusion_depth=0), "without blocks 'cross' sees no clicks"),
        (dict(fusion_heads=3), "fusion_heads = 3: must divide the 8 channels"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_model({**late(), **own})


@torch.no_grad()
@pytest.mark.parametrize("upsample", [1, 2, 4])
def test_maps_of_the_head(upsample):
    model = build_model(section(head=dict(type="SimpleClickHead", channels=8, upsample=upsample))).eval()
    maps = model.neck(model.backbone(torch.randn(1, 3, 24, 40)))
    assert [tuple(x.shape[1:]) for x in maps] == [(4, 24, 40), (4, 12, 20), (4, 6, 10), (4, 3, 5)]
    assert model.head(maps)["logits"].shape == (1, 1, 24 * upsample, 40 * upsample)
    assert model.neck(model.backbone(torch.randn(1, 3, 4, 4)))[3].shape == (1, 4, 1, 1)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """One query, one head at a time."""
    out = torch.zeros_like(q)
    width = q.shape[-1] // heads
    for i in range(len(q)):
        for h in range(heads):
            part = slice(h * width, (h + 1) * width)
            weights = torch.stack([(q[i, part] * row[part]).sum() / width**0.5 for row in k]).softmax(0)
            out[i, part] = sum(w * row[part] for w, row in zip(weights, v))
    return out


@torch.no_grad()
@pytest.mark.parametrize("target_norm", [True, False])
def test_cross_attention_by_hand(target_norm):
    """The clicks attend first, and the image attends to what they have become; the target is normalized or not."""
    torch.manual_seed(0)
    fusion = CrossFusion(4, 1, 2, target_norm=target_norm)
    pair = fusion.blocks[0]
    for block in pair.values():
        for layer in (block.norm1, block.norm2, block.norm_target):
            if isinstance(layer, nn.LayerNorm):
                layer.weight.normal_(), layer.bias.normal_()
    image, clicks = torch.randn(2, 1, 4, 2, 3)

    def one(block: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        target = block.norm_target(target) if target_norm else target
        attn = block.attn
        x = x + attn.proj(attention(attn.q(block.norm1(x)), attn.k(target), attn.v(target), 2))
        return x + block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(block.norm2(x))))

    tokens, prompts = image[0].flatten(1).T, clicks[0].flatten(1).T
    prompts = one(pair["prompt_to_image"], prompts, tokens)
    expected = one(pair["image_to_prompt"], tokens, prompts).T.reshape(1, 4, 2, 3)
    assert torch.allclose(fusion(image, clicks), expected, atol=1e-6)
    names = {name for name, _ in fusion.named_parameters()}
    assert any("norm_target" in name for name in names) == target_norm


@torch.no_grad()
def test_the_sum_is_fused():
    image, clicks = torch.randn(2, 1, 4, 2, 3)
    assert torch.equal(SumFusion(4, 0, 2)(image, clicks), image + clicks)
    fusion = SumFusion(4, 1, 2)
    block, x = fusion.blocks[0], (image + clicks)[0].flatten(1).T
    q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, -1)
    x = x + block.attn.proj(attention(q, k, v, 2))
    expected = x + block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(block.norm2(x))))
    assert torch.allclose(fusion(image, clicks), expected.T.reshape(1, 4, 2, 3), atol=1e-6)


def counted(model: nn.Module) -> list[int]:
    """Sizes of the batches that the backbone is run on from now on."""
    calls: list[int] = []
    model.backbone.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    return calls


@pytest.mark.parametrize("make, passes", [(section, 3), (late, 2)])
def test_training_encodes_once_for_all_rounds_and_trains_everything(make, passes):
    torch.manual_seed(0)
    model = build_model(make()).train()
    calls, data = counted(model), batch()
    outputs = Interactive(iterations=2).forward(model, data, Fixed(2))
    assert calls == [2] * passes, "the rounds' passes, and the trained one"
    outputs["logits"].square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@torch.no_grad()
def test_one_encoding_answers_all_clicks():
    torch.manual_seed(0)
    model = build_model(late()).eval()
    advance = Advance(model, ClickInference(flip=True, zoom=None))
    images = torch.randint(0, 256, (2, 3, 20, 28), dtype=torch.uint8)
    sessions = [Session(image) for image in images]
    calls = counted(model)
    previous = torch.zeros(2, 1, 20, 28)
    for number, click in enumerate([Click(5, 6, True), Click(15, 20, False), Click(7, 9, True)]):
        for session in sessions:
            session.add(click)
        advance(sessions)
        rows = torch.full((2, 6, 3), -1.0)
        for i, made in enumerate(sessions[0].clicks):
            rows[:, (0 if made.is_positive else 3) + i] = torch.tensor([made.y, made.x, i])
        mirrored = rows.clone()
        mirrored[..., 1] = torch.where(rows[..., 0] < 0, -1.0, 27 - rows[..., 1])
        copies = model(images.flip(-1), mirrored, previous.flip(-1))["logits"].flip(-1)
        logits = (model(images, rows, previous)["logits"] + copies) / 2
        expected = nn.functional.interpolate(logits, (20, 28), mode="bilinear", align_corners=True).sigmoid()
        previous = torch.cat([session.probabilities for session in sessions])
        assert torch.allclose(previous, expected, atol=1e-5), number
    assert [n for n in calls if n == 4] == [4], "both images and their copies, once"


@torch.no_grad()
def test_a_new_view_is_encoded_again():
    model = build_model(late()).eval()
    advance = Advance(model, ClickInference(flip=False, zoom=dict(skip=-1, target=16, min_crop=4, recompute_iou=1.0)))
    session, calls = Session(torch.zeros(3, 40, 40, dtype=torch.uint8)), counted(model)
    for box in ((4, 12), (20, 39), (20, 39)):
        session.add(Click(box[0], box[0], False))
        session.probabilities = torch.zeros(1, 1, 40, 40)
        session.probabilities[..., box[0] : box[1], box[0] : box[1]] = 1
        advance([session])
    assert calls == [1, 1], "the whole image, then the box of the mask, which stays"
    session.release()
    assert session.encoded is None


@torch.no_grad()
def test_an_export_encodes_the_image_once():
    torch.manual_seed(0)
    model = build_model(late()).eval()
    encoder, decoder = parts_of(model, Request(size=(18, 24)))
    image, clicks, previous = (
        torch.randint(0, 256, (1, 3, 18, 24)),
        torch.tensor([[[5.0, 6, 1]]]),
        torch.rand(1, 1, 18, 24),
    )
    features = encoder.plain(image)
    assert features.shape == (1, 8, 5, 6), "patches of 4 pixels"
    calls = counted(decoder.plain.model)
    found = decoder.plain(features, clicks, previous)
    assert calls == [] and decoder.examples((18, 24), 1)[0].shape == features.shape
    rows = torch.tensor([[[5.0, 6, 0], [-1, -1, -1]]])
    assert torch.allclose(found, model.probabilities(image, rows, previous), atol=1e-6)
    early = parts_of(build_model(section()).eval(), Request(size=(18, 24)))
    assert early[0].plain(image).shape == (1, 3, 18, 24) and early[1].features is None


def test_parts_of_a_batch():
    encoded = Encoded(torch.arange(4).view(4, 1), [torch.arange(8).view(4, 2)])
    parts = encoded.split([1, 2, 1])
    assert [len(part.image) for part in parts] == [1, 2, 1] and parts[1].features[0].tolist() == [[2, 3], [4, 5]]
    again = joined(parts)
    assert torch.equal(again.image, encoded.image) and torch.equal(again.features[0], encoded.features[0])
    assert joined(parts[:1]) is parts[0]


def test_a_squashed_view():
    mask, clicks = Box(4, 5, 4, 5), [Click(2, 3, True)] * 4
    assert choose_box(mask, mask, clicks, (60, 80), SQUASH) is None
    assert not wants_second_pass(mask, (600, 800), ZoomSettings(squash=True, skip=0))
    view = view_of(None, (60, 80), SQUASH, None)
    assert view.input_size == (24, 32) and view.box == whole((60, 80))
    assert view_of(None, (60, 80), ZoomSettings(squash=True, target=16), None).input_size == (16, 16)
    # 24 / 60 = 32 / 80 = .4: 11 -> 4.4 + .5, 13 -> 5.2 + .5, 79 -> 31.6 + .5, rounded down
    assert view.move([Click(11, 13, True), Click(0, 79, False)]) == [Click(4, 5, True), Click(0, 32, False)]
    ramp = torch.arange(60.0).view(1, 1, 60, 1).expand(1, 1, 60, 80)
    # borders aligned, two neighbours each: row 0 of 24 lies at (0 + .5) * 2.5 - .5 = .75
    assert view.apply(ramp)[0, 0, :2, 0].tolist() == pytest.approx([0.75, 3.25])
    logits = torch.randn(1, 1, 24, 32)
    expected = nn.functional.interpolate(logits, (60, 80), mode="bilinear", align_corners=False).sigmoid()
    assert torch.equal(view.probabilities(logits, (60, 80), view.box), expected)
    plain = view_of(None, (24, 32), None, None)
    assert torch.equal(plain.probabilities(logits, (24, 32), plain.box), logits.sigmoid())


@torch.no_grad()
def test_patches_of_guidance_are_those_of_the_image():
    """Weights that add up the pixels of a patch; what lies beyond the border counts nothing."""
    model = build_model(section(previous_mask=False))
    model.guide.conv.weight.data.fill_(1)
    model.guide.conv.bias.data.zero_()
    guidance = torch.ones(1, 2, 6, 9)
    added = model.guide(torch.zeros(1, 3, 6, 9), guidance)[1]
    assert added[0, 0].tolist() == [[32, 32, 8], [16, 16, 4]] and np.ptp(added[0].numpy(), axis=0).max() == 0
