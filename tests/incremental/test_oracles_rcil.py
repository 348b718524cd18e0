"""RCIL's block and head with two branches against the published ones, and the merge of the branches."""

import gzip
import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs.rcil import TwoBranchMiBDeepLabHead
from segkit.backbones.mib_resnet import SLOPE, ABNResNet
from segkit.backbones.rcil_resnet import TwoBranchABNResNet, TwoBranchBlock
from segkit.models.two_branches import merge_branches
from segkit.ops.in_place_abn import in_place_scale
from tests.incremental.steps_oracle import FOLDER, by_rule, stored

STORED = {name: torch.from_numpy(value) for name, value in stored("rcil.npz").items()}
SHAPES = json.loads(gzip.decompress((FOLDER / "rcil_block_and_head.json.gz").read_bytes()))["shapes"]
X = STORED["input"]


def load(module: nn.Module, prefix: str) -> None:
    """The published weights of in-place normalizations, which scale by |weight| + 1e-5."""
    names = {name.removeprefix(prefix): shape for name, shape in SHAPES.items() if name.startswith(prefix)}
    own = {name for name in module.state_dict() if not name.startswith("classifier")}
    assert own == set(names)
    for name, shape in names.items():
        if name.endswith("num_batches_tracked"):
            continue
        value = by_rule(f"{prefix}{name}", tuple(shape))
        is_scale = name.endswith(".weight") and "bn" in name.split(".")[-2]
        module.state_dict()[name].copy_(in_place_scale(value) if is_scale else value)


def block() -> TwoBranchBlock:
    module = TwoBranchBlock(8, (4, 4, 8), stride=1, dilation=1)
    load(module, "block.")
    return module.eval()


def head() -> TwoBranchMiBDeepLabHead:
    module = TwoBranchMiBDeepLabHead((8,), 3, channels=6, hidden=256)
    load(module, "head.")
    return module.eval()


def branch(module: TwoBranchBlock, end: str) -> Tensor:
    """Output of one branch of the middle convolution."""
    layers = dict(module.convs.named_children())
    return layers[f"bn2{end}"](layers[f"conv2{end}"](F.leaky_relu(layers["bn1"](layers["conv1"](X)), SLOPE)))


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    assert float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


@torch.no_grad()
def test_block_and_head_are_the_published_ones():
    module = block()
    assert_close(module(X), STORED["two_branches/block_out0"])
    assert_close(branch(module, ""), STORED["two_branches/block_out1"])
    assert_close(branch(module, "_new"), STORED["two_branches/block_out2"])
    assert_close(head()([module(X)])["embedding"], STORED["two_branches/head"])


@torch.no_grad()
def test_channels_take_the_published_branches():
    """Measured after the merge."""
    module = block()
    merge_branches(module, as_published=True)
    module.training = True  # the block alone: its normalizations stay in evaluation
    torch.manual_seed(5)
    assert_close(module(X), STORED["droppath/block_out0"])
    torch.manual_seed(5)
    assert torch.equal(torch.rand(4), STORED["droppath/r"])


@torch.no_grad()
def test_published_merge_changes_the_function():
    module, whole = block(), head()
    mean = (branch(module, "") + branch(module, "_new")) / 2
    assert merge_branches(module, as_published=True) == 1 and merge_branches(whole, as_published=True) == 1
    assert_close(module(X), STORED["merged_in_branch1/block_out0"])
    assert_close(branch(module, ""), STORED["merged_in_branch1/block_out1"])
    assert_close(branch(module, ""), mean)
    assert_close(whole([module(X)])["embedding"], STORED["merged_in_branch1/head"])
    convs = dict(module.convs.named_children())
    assert_close(convs["conv2"].weight, STORED["merged/conv2.weight"])
    assert_close(convs["bn2"].bias, STORED["merged/conv2.bias"])
    assert_close(whole.map_convs[1].weight[::16], STORED["merged/map_convs.1.weight_sub"])
    assert_close(whole.map_bn.bias[256:512], STORED["merged/map_convs.1.bias"])


@torch.no_grad()
@pytest.mark.parametrize("make", [block, head])
def test_merge_keeps_the_function(make):
    module = make()
    x = X if make is block else [X]
    outputs = (lambda: module(x)) if make is block else (lambda: module(x)["embedding"])
    before = outputs()
    for _ in range(2):  # a second merge of equal branches changes nothing
        merge_branches(module)
        assert_close(outputs(), before)
    (pair,) = module.branches()
    for first, second in zip(pair.first, pair.second):
        assert torch.equal(first.weight, second.weight)


@torch.no_grad()
def test_encoder_has_the_branches_and_starts_them_from_one():
    plain, double = ABNResNet(18), TwoBranchABNResNet(18)
    weights = double.completed(plain.state_dict())
    double.load_state_dict(weights)
    added = set(double.state_dict()) - set(plain.state_dict())
    assert len(added) == 16 * 6 and all("_new" in name for name in added)  # 16 convolutions of 3x3, 6 tensors each
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(double.eval()(image), plain.eval()(image)):
        torch.testing.assert_close(ours, theirs)
    assert merge_branches(double) == 16
