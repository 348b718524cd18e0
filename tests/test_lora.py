"""Low-rank updates of linear layers: by hand, with frozen encoders, in checkpoints, averages and resumed runs."""

import copy

import pytest
import torch
from torch import nn

from segkit.engine import checkpoint
from segkit.engine.lora import add_updates, merged
from segkit.engine.optim import Ema, build_optimizer
from segkit.registry import ConfigError, build_model
from segkit.runners.averaging import average
from segkit.settings import LoraSettings

CONFIG = dict(
    num_classes=2,
    backbone=dict(type="Timm", name="test_vit", out_indices=(5,), final_norm=True),
    head=dict(type="LinearHead"),
)
ADAM = dict(type="AdamW", lr=1e-2)
LORA = dict(match=r"attn\.(qkv|proj)$", rank=2)
X = torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def trained(steps: int = 2, **section) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(CONFIG)
    optimizer = build_optimizer(ADAM | section, model)
    for _ in range(steps):
        optimizer.zero_grad()
        model.train()(X)["logits"].square().mean().backward()
        optimizer.step()
    return model.eval()


def test_an_update_by_hand():
    """[[1, 2], [3, 4]] + 4 / 1 * [1, 2]^T [10, 0] = [[41, 2], [83, 4]]."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False))
    net[0].weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert add_updates(net, LoraSettings(match="^0$", rank=1, alpha=4)) == ["0"]
    assert net[0].weight.tolist() == [[1, 2], [3, 4]], "an update starts at 0"
    update = net[0].parametrizations.weight[0]
    update.up.data, update.down.data = torch.tensor([[1.0], [2.0]]), torch.tensor([[10.0, 0.0]])
    assert net[0].weight.tolist() == [[41, 2], [83, 4]]
    assert {name: value.tolist() for name, value in merged(net.state_dict()).items()} == {
        "0.weight": [[41, 2], [83, 4]]
    }


class TwoBranches(nn.Module):
    """A linear layer as the paper (eq. 3) and peft compute it: the update is a branch of its own."""

    def __init__(self, base: nn.Linear, down: torch.Tensor, rank: int, alpha: float):
        super().__init__()
        self.base, self.scale = base, alpha / rank
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        self.down.weight.data, self.up.weight.data = down.clone(), torch.zeros(base.out_features, rank)
        base.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.scale * self.up(self.down(x))


def test_updates_train_as_a_branch_beside_the_layer():
    """Outputs, gradients, and five steps of AdamW equal those of the published formula, y = W x + a / r B A x."""
    torch.manual_seed(0)
    base, x, target = nn.Linear(12, 8), torch.randn(5, 12), torch.randn(5, 8)
    ours, rank, alpha = nn.Sequential(copy.deepcopy(base)), 3, 6.0
    add_updates(ours, LoraSettings(match="^0$", rank=rank, alpha=alpha))
    update = ours[0].parametrizations.weight[0]
    assert update.up.count_nonzero() == 0 and update.down.abs().max() <= (1 / 12) ** 0.5  # kaiming_uniform, a = 5 ** .5
    theirs = TwoBranches(copy.deepcopy(base), update.down.detach(), rank, alpha)
    optimizers = [
        torch.optim.AdamW([p for p in net.parameters() if p.requires_grad and p is not ours[0].bias], lr=1e-2)
        for net in (ours, theirs)
    ]
    for _ in range(5):
        for net, optimizer in zip((ours, theirs), optimizers):
            optimizer.zero_grad()
            (net(x) - target).square().mean().backward()
            optimizer.step()
        for a, b in ((update.up, theirs.up.weight), (update.down, theirs.down.weight)):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    assert (ours(x) - base(x)).abs().max() > 1e-2


def test_only_updates_and_the_head_train_in_a_frozen_encoder():
    fresh, model = build_model(CONFIG), trained(freeze="encoder", lora=LORA)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    updates = [name for name in trainable if name.startswith("backbone.")]
    assert len(updates) == 6 * 2 * 2 and all(name.endswith((".up", ".down")) for name in updates)
    # six blocks of width 64: 2 (192 + 64) and 2 (64 + 64) each, and the head's 2 * 64 + 2 * 64 + 2
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == 6 * 768 + 258
    torch.manual_seed(0)
    fresh = build_model(CONFIG).state_dict()
    after = merged(model.state_dict())
    assert after.keys() == fresh.keys()
    moved = {name for name in fresh if name.startswith("backbone.") and not torch.equal(fresh[name], after[name])}
    assert moved == {n for n in fresh if n.endswith(("attn.qkv.weight", "attn.proj.weight"))}


def test_readers_of_checkpoints_add_the_updates(tmp_path):
    model = trained(lora=LORA)
    plain = build_model(CONFIG).eval()
    checkpoint.save(tmp_path / "a.pt", {"model": model.state_dict(), "config": {}})
    checkpoint.load_fitting(plain, checkpoint.read(tmp_path / "a.pt")["model"], "a.pt")
    assert torch.allclose(plain(X)["logits"], model(X)["logits"], atol=1e-5)
    other = trained(3, lora=LORA)
    checkpoint.save(tmp_path / "b.pt", {"model": other.state_dict(), "config": {}})
    mean = average([tmp_path / "a.pt", tmp_path / "b.pt"])["model"]
    ours, theirs = merged(model.state_dict()), merged(other.state_dict())
    for name, value in mean.items():
        if value.is_floating_point():
            assert torch.allclose(value, (ours[name] + theirs[name]) / 2, atol=1e-6), name


def test_a_run_goes_on_from_its_weights_and_updates():
    model, other = trained(lora=LORA), trained(0, lora=LORA)
    checkpoint.load_weights(other, model.state_dict(), "last.pt")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_moving_average_has_updates_of_its_own():
    model = trained(0, lora=LORA)
    ema = Ema(copy.deepcopy(model), 0.5)
    assert ema.module.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    "lora, message",
    [
        (
            dict(match="query"),
            r"optimizer.lora.match = 'query': no linear layer has such a name; the model has backbone",
        ),
        (dict(match="qkv", rank=65), r"optimizer.lora.rank = 65: .*qkv is only 64 wide; give at most that"),
    ],
)
def test_what_cannot_be_updated_is_refused(lora, message):
    with pytest.raises(ConfigError, match=message):
        build_optimizer(ADAM | dict(lora=lora), build_model(CONFIG))
