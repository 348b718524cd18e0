"""EoMT: the annealing of its masks, what its queries attend to, and what its parts refuse."""

import pytest
import torch

from segkit.archs.eomt import EoMTHead
from segkit.config import load_config
from segkit.data.large.grid import window_corners
from segkit.engine.optim import build_optimizer
from segkit.inference import slide
from segkit.models.query_segmentor import Tokens
from segkit.registry import ConfigError, build_model
from tests.oracles import ROOT

TINY = dict(type="QueryViT", name="test_vit", img_size=(32, 32))


def head(**kwargs) -> EoMTHead:
    return EoMTHead((8,), 3, (16,), **kwargs)


def model(**kwargs) -> dict:
    parts = dict(backbone=TINY, head=dict(type="EoMTHead", num_queries=4, num_blocks=2)) | kwargs
    return dict(type="QuerySegmentor", num_classes=3, **parts)


def test_masks_are_annealed_block_after_block():
    """By hand: half way between start and end the probability is .5 ** .9."""
    net = head(starts=(0, 10, 20, 30), ends=(10, 20, 30, 40))
    for step, expected in ((0, [1, 1, 1, 1]), (5, [0.5**0.9, 1, 1, 1]), (15, [0, 0.5**0.9, 1, 1]), (99, [0, 0, 0, 0])):
        net.anneal(step, 100)
        assert net.attn_mask_probs.tolist() == pytest.approx(expected)


def test_without_steps_the_annealing_is_that_of_the_published_runs():
    """ADE20K: of about 39,120 steps block i is annealed from 6,520 (i + 1) to 6,520 (i + 2)."""
    net, published = head(), head(starts=(6520, 13040, 19560, 26080), ends=(13040, 19560, 26080, 32600))
    for step in (0, 9000, 16000, 33000):
        net.anneal(step, 39120)
        published.anneal(step, 39120)
        assert net.attn_mask_probs.tolist() == pytest.approx(published.attn_mask_probs.tolist(), abs=1e-6)


def test_a_masked_query_sees_its_own_patches_and_all_other_tokens():
    net = head(num_queries=2)
    tokens = Tokens(torch.zeros(1, 2 + 1 + 4, 8), (2, 2), None)  # two queries, a class token, four patches
    logits = torch.tensor([[[[1.0, -1.0], [-1.0, -1.0]], [[-1.0, -1.0], [-1.0, 0.0]]]])
    seen = net._attended(logits, tokens, torch.tensor(1.0))[0, 0].int().tolist()
    assert seen[0] == [1, 1, 1, 1, 0, 0, 0] and seen[1] == [1, 1, 1, 0, 0, 0, 0]
    assert all(row == [1] * 7 for row in seen[2:])
    assert net._attended(logits, tokens, torch.tensor(0.0)).all()
    torch.manual_seed(0)
    half = net._attended(logits.expand(2000, -1, -1, -1), tokens._replace(x=torch.zeros(2000, 7, 8)), torch.tensor(0.3))
    assert half[:, 0, :2, 3:].all(2).float().mean() == pytest.approx(0.7, abs=0.03)


def test_training_predicts_before_each_block_and_evaluation_once():
    net = build_model(model())
    x = torch.randint(0, 256, (2, 3, 30, 41), dtype=torch.uint8)
    outputs = net.train()(x)
    assert [len(outputs[name]) for name in ("class_logits", "mask_logits")] == [3, 3]
    assert outputs["mask_logits"][0].shape == (2, 4, 8, 11)
    outputs = net.eval()(x)
    assert len(outputs["class_logits"]) == 1 and net.maps(outputs, (30, 41)).shape == (2, 3, 30, 41)


def test_the_model_tells_the_head_the_step():
    net = build_model(model())
    net.start_step(10, 10)
    assert net.head.attn_mask_probs.tolist() == [0, 0]


@pytest.mark.parametrize(
    "size, starts",
    [((512, 683), [0, 171]), ((512, 1536), [0, 512, 1024]), ((512, 514), [0, 2]), ((512, 512), [0])],
)
def test_windows_of_a_test_lie_along_the_long_side(size, starts):
    """The authors' examples."""
    assert window_corners(size, (512, 512), None) == [(0, x) for x in starts]
    assert window_corners(size[::-1], (512, 512), None) == [(y, 0) for y in starts]


def test_even_windows_are_averaged_by_their_count():
    """By hand: two windows of 4 on 6 pixels give their numbers, 1 and 3, and 2 where both lie."""
    numbers = iter((1.0, 3.0))
    predict = slide(lambda x, window: torch.full((1, 2, *x.shape[-2:]), next(numbers)), (4, 4), stride=None)
    assert predict(torch.zeros(1, 3, 4, 6))[0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(head=dict(type="FCNHead")), r"model.head = FCNHead: is not a TokenHead"),
        (dict(backbone=dict(type="Timm", name="resnet18")), r"model.backbone = Timm: is not a TokenBackbone"),
        (dict(head=dict(type="EoMTHead", num_blocks=7)), r"model.head.num_blocks = 7: the backbone has 6 blocks"),
        (
            dict(head=dict(type="EoMTHead", starts=(1, 2))),
            r"head.starts = \(1, 2\): must have one value for each of the 4",
        ),
        (dict(head=dict(type="EoMTHead", num_blocks=1, starts=(9,), ends=(3,))), r"head.starts.0 = 9: lies behind"),
        (
            dict(backbone={**TINY, "patch_size": 14}),
            r"backbone.patch_size = 14: EoMT's masks have stride 4; give 4 times",
        ),
        (dict(aux=[dict(type="FCNHead")]), r"model.aux: QuerySegmentor has none"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        build_model(model(**change))


def test_the_encoder_waits_and_its_first_layers_train_most_slowly():
    """Of the published setting: .8 ** 23 in front of 24 blocks, 1 for the last block and the final normalization."""
    cfg = load_config(ROOT / "configs/eomt/eomt_dinov2-l_39k_ade_512.py", ["model.backbone.pretrained=None"])
    with torch.device("meta"):
        net = build_model(cfg["model"])
    names = {parameter: name.removeprefix("backbone.encoder.model.") for name, parameter in net.named_parameters()}
    groups = {names[p]: g for g in build_optimizer(cfg["optimizer"], net).param_groups for p in g["params"]}
    for name, factor in (("pos_embed", 0.8**23), ("blocks.0.ls1.gamma", 0.8**23), ("blocks.22.mlp.fc1.weight", 0.8)):
        assert groups[name]["lr"] == pytest.approx(1e-4 * factor)
    for name in ("blocks.23.norm1.weight", "norm.weight"):
        assert (groups[name]["lr"], groups[name]["wait"], groups[name]["warmup"]) == (1e-4, 500, 1000)
    assert groups["head.queries"]["lr"] == 1e-4 and "wait" not in groups["head.queries"]
    assert {group["weight_decay"] for group in groups.values()} == {0.05}
