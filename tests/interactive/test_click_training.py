"""Interactive training: what the rounds change and what they must not, on any encoder, and taken up where it broke."""

import numpy as np
import pytest
import torch

from segkit.api import build_runner
from segkit.criterion import build_criterion
from segkit.engine import checkpoint
from segkit.engine.hooks import standard_hooks
from segkit.engine.loop import Loop
from segkit.registry import ConfigError, build_model
from segkit.runners.base import bare
from segkit.runners.interactive.runner import Interactive
from tests.test_loop import CPU, Record

LOSSES = [dict(type="NormalizedFocal", on="logits", target="mask")]
SIZE = (32, 32)


class Fixed:
    """A generator that draws the same number of rounds every time."""

    def __init__(self, rounds: int):
        self.rounds = rounds

    def integers(self, high: int) -> int:
        return min(self.rounds, high - 1)


def model_section(**own) -> dict:
    backbone = dict(type="PlainEncoder", channels=(8, 12))
    return (
        dict(type="ClickSegmentor", num_classes=1, backbone=backbone, head=dict(type="FCNHead", channels=8), radius=3)
        | own
    )


def batch() -> dict:
    rng = torch.Generator().manual_seed(0)
    clicks = torch.full((2, 12, 3), -1.0)
    clicks[:, 0] = torch.tensor([14.0, 16, 100])
    mask = torch.zeros(2, *SIZE)
    mask[:, 8:24, 8:24] = 1
    mask[1, :3] = -1
    return dict(image=torch.randint(0, 256, (2, 3, *SIZE), generator=rng, dtype=torch.uint8), clicks=clicks, mask=mask)


def test_rounds_add_a_click_each_and_leave_no_trace_in_statistics():
    torch.manual_seed(0)
    model = build_model(model_section()).train()
    data = batch()
    given = data["clicks"].clone()
    Interactive(iterations=3).forward(model, data, Fixed(3))
    added = (data["clicks"] != given).any(-1).sum(1)
    assert added.tolist() == [3, 3] and (data["previous"] > 0).any()
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and all(int(norm.num_batches_tracked) == 1 for norm in norms) and model.training
    data = batch()
    Interactive(iterations=3).forward(model, data, Fixed(0))
    assert torch.equal(data["clicks"], given) and not data["previous"].any()


def test_each_batch_draws_its_rounds_uniformly(monkeypatch):
    drawn = []

    def note(self, model, batch, *, rounds, generator):
        drawn.append(rounds)
        return batch["clicks"], batch["image"]

    monkeypatch.setattr(Interactive, "_rounds", note)
    runner, data = Interactive(iterations=3), batch()
    for seed in range(400):
        runner.forward(lambda *inputs: {}, data, np.random.default_rng(seed))
    counts = np.bincount([*drawn, *[0] * (400 - len(drawn))], minlength=4)
    # four outcomes of 100 +- 8.7 each
    assert (abs(counts - 100) < 35).all() and counts.sum() == 400


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_parameter_learns_after_rounds(dtype):
    """Under autocast the rounds' casts of weights carry no graph and must not be used by the trained pass."""
    torch.manual_seed(0)
    model, data = build_model(model_section()).train(), batch()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        outputs = Interactive(iterations=2).forward(model, data, Fixed(2))
    sum(build_criterion(LOSSES)(outputs, data, 0).values()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # the bias of a convolution before a normalization moves nothing
    assert [name for name in silent if not name.endswith("conv.bias")] == []


def test_dropped_previous_mask_is_empty_but_its_clicks_stay():
    torch.manual_seed(0)
    data = batch()
    given = data["clicks"].clone()
    Interactive(iterations=1, previous_dropout=1.0).forward(build_model(model_section()).train(), data, Fixed(1))
    assert not data["previous"].any() and not torch.equal(data["clicks"], given)


@pytest.mark.parametrize("scheme", ["DMF", "Conv1E", "Conv1S"])
@pytest.mark.parametrize("encoder", ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_small_100", "convnext_atto"])
def test_clicks_reach_any_encoder(encoder, scheme):
    """Stems of stride 2 and 4, hooks and padding of sizes that are no multiple of the stride. The head reads all
    levels: with fresh residual branches of zero a deep level alone sees every fourth pixel of the stem."""
    torch.manual_seed(0)
    parts = dict(backbone=dict(type="Timm", name=encoder), head=dict(type="UNetHead", channels=(8, 8)))
    model = build_model(model_section(**parts, scheme=scheme)).eval()
    image = batch()["image"].repeat(1, 1, 2, 2)[..., :61, :50]
    clicks, empty = torch.full((2, 4, 3), -1.0), torch.full((2, 4, 3), -1.0)
    clicks[:, 0] = torch.tensor([30.0, 25, 0])
    with torch.inference_mode():
        with_click, without = (model.probabilities(image, points) for points in (clicks, empty))
        previous = model.probabilities(image, clicks, torch.ones(2, 1, 61, 50))
    assert with_click.shape == (2, 1, 61, 50)
    assert not torch.equal(with_click, without) and not torch.equal(with_click, previous)


def test_bad_configs_are_named():
    with pytest.raises(ConfigError, match=r"model.num_classes = 2: a click model separates one object"):
        build_model(model_section(num_classes=2))
    with pytest.raises(ConfigError, match=r"model.scheme = 'Conv2S': must be one of"):
        build_model(model_section(scheme="Conv2S"))
    with pytest.raises(ConfigError, match=r"model.guidance_channels = 64: the stem has 8"):
        build_model(model_section(guidance_channels=64))
    with pytest.raises(ConfigError, match=r"previous_dropout = 2: must be a probability"):
        Interactive(previous_dropout=2)
    data = batch()
    del data["clicks"]
    with pytest.raises(ConfigError, match=r"holds no clicks; end with dict\(type='SampleClicks'\)"):
        Interactive().forward(build_model(model_section()), data, Fixed(0))


def test_the_bare_module_is_found_inside_its_wrappers():
    inner = torch.nn.Linear(1, 1)
    wrapped = torch.nn.DataParallel(torch.compile(inner))
    assert bare(wrapped) is inner and bare(inner) is inner


def sections() -> dict:
    data = dict(type="ShapesClicks", size=SIZE, length=8)
    return dict(
        model=model_section(),
        losses=LOSSES,
        runner=dict(type="Interactive", iterations=2),
        train=dict(
            batch_size=2,
            workers=0,
            dataset=dict(**data, split="train"),
            transforms=[dict(type="Flip"), dict(type="SampleClicks", max_points=6)],
        ),
        val=dict(batch_size=4, workers=0, dataset=dict(**data, split="val")),
        inference=dict(clicks=dict(zoom=None, flip=False, max_clicks=2)),
        metrics=[dict(type="NoC", limits=(2,))],
        optimizer=dict(type="Adam", lr=1e-3),
        loop=dict(steps=4, log_every=2, save_every=2, eval_every=4, monitor="NoC@90", better="lower", ema=0.9),
    )


def test_a_run_broken_off_goes_on_bit_for_bit(tmp_path):
    def loop_of(folder, *hooks):
        cfg = sections()
        return Loop(cfg, build_runner(cfg), work_dir=folder, device=CPU, hooks=(*standard_hooks(), *hooks))

    class Kill(Record):
        def after_step(self, loop, terms):
            if loop.step == 3:
                raise KeyboardInterrupt

    whole = loop_of(tmp_path / "a")
    whole.fit()
    with pytest.raises(KeyboardInterrupt):
        loop_of(tmp_path / "b", Kill()).fit()
    again = loop_of(tmp_path / "b")
    again.load_state_dict(checkpoint.read(tmp_path / "b/last.pt"), "last.pt")
    assert again.step == 3  # an interrupted run saves the last whole step
    again.fit()
    ours, theirs = again.raw_model.state_dict(), whole.raw_model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert again.best == whole.best


@pytest.mark.parametrize("inference", [dict(mode="slide", crop=(16, 16), stride=(8, 8)), dict(tta=dict(flip=True))])
def test_views_that_clicks_do_not_have_are_refused(inference):
    """`segkit test --tta` gave the scores without it, and said nothing."""
    cfg = sections()
    cfg["inference"] |= inference
    runner = build_runner(cfg)
    with pytest.raises(ConfigError, match=r"a sliding window and TTA \(--slide, --tta\) are not for clicks"):
        runner.predict(build_model(cfg["model"]).eval(), dict(image=torch.zeros(1, 3, 8, 8), meta=[], mask=[]))
