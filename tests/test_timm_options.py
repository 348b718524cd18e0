"""Arguments of the timm adapter that reach into the encoder: its own options, its final norm, less memory."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from segkit.backbones.timm import Timm
from segkit.registry import ConfigError


def test_an_encoders_own_arguments_are_handed_on():
    with torch.device("meta"):
        own = Timm("pvt_v2_b0", options=dict(mlp_ratios=(4, 4, 4, 4)))
        named = Timm("mit_b0")
    assert {k: v.shape for k, v in own.state_dict().items()} == {k: v.shape for k, v in named.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "pvt_v2_b0",
            dict(options=dict(mlp_ratio=4)),
            r"options.mlp_ratio: .*did you mean 'mlp_ratios'.*it has .*depths",
        ),
        ("pvt_v2_b0", dict(options=dict(num_classes=4)), r"options.num_classes: is set by model.num_classes"),
        ("resnet18", dict(options=dict(in_chans=4)), r"options.in_chans: is set by backbone.in_channels"),
        ("resnet18", dict(options=dict(features_only=True)), r"options.features_only: is set by segkit itself"),
        (
            "resnet18",
            dict(options=dict(stem_width=8), deep_stem=32),
            r"options.stem_width: is set by backbone.deep_stem",
        ),
        ("mit_b0", dict(options=dict(mlp_ratios=(8, 8, 4, 4))), r"options.mlp_ratios: is what makes pvt_v2_b0 mit_b0"),
        ("resnet18", dict(options=dict(layers=(1, 1))), r"resnet18 cannot be built with .*layers"),
        ("resnet18", dict(final_norm=True), r"final_norm = True: resnet18 has no final .*norm_levels"),
        (
            "deit3_small_patch16_224",
            dict(options=dict(class_token=False, global_pool=""), append_class_token=True),
            r"append_class_token = True: .*no class token",
        ),
        ("beit_base_patch16_224", dict(final_norm=True), r"final_norm = True: beit_base_patch16_224 has no final"),
        ("vgg11", dict(grad_checkpointing=True), r"grad_checkpointing = True: the blocks of vgg11 are not known"),
    ],
)
def test_arguments_that_an_encoder_does_not_take_are_named(name, arguments, message):
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        Timm(name, **arguments)


@torch.no_grad()
def test_the_final_norm_with_its_weights_follows_every_map():
    plain = Timm("vit_tiny_patch16_224", out_indices=(2, 11)).eval()
    weight, bias = torch.rand(192), torch.rand(192)
    weights = {**plain.encoder.state_dict(), "norm.weight": weight, "norm.bias": bias}
    net = Timm("vit_tiny_patch16_224", out_indices=(2, 11), final_norm=True, pretrained=lambda: weights).eval()
    x = torch.randn(1, 3, 40, 70)
    for before, after in zip(plain(x), net(x)):
        expected = F.layer_norm(before.permute(0, 2, 3, 1), (192,), weight, bias, 1e-6).permute(0, 3, 1, 2)
        assert torch.allclose(after, expected, atol=1e-5)


@torch.no_grad()
def test_the_class_token_follows_the_channels_of_every_position():
    with_token = Timm("vit_tiny_patch16_224", out_indices=(1, 3), append_class_token=True, options=dict(depth=4)).eval()
    plain = Timm("vit_tiny_patch16_224", out_indices=(1, 3), options=dict(depth=4)).eval()
    plain.encoder.load_state_dict(with_token.encoder.state_dict())
    assert with_token.channels == (384, 384)
    tokens: list[torch.Tensor] = []
    with_token.encoder.model.blocks[1].register_forward_hook(lambda _m, _i, output: tokens.append(output[:, 0]))
    x = torch.randn(2, 3, 40, 70)
    maps = with_token(x)
    assert torch.equal(maps[0][:, :192], plain(x)[0]) and torch.equal(maps[1][:, :192], plain(x)[1])
    assert torch.equal(maps[0][:, 192:], tokens[0][:, :, None, None].expand(-1, -1, 3, 5))


def _saved(net: nn.Module) -> tuple[int, dict[str, torch.Tensor]]:
    """Bytes that the forward pass keeps for the backward pass, and the gradients."""
    seen: dict[int, tuple[int, torch.Tensor]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    torch.manual_seed(1)  # drop path is drawn again in the same way
    x = torch.randn(1, 3, 64, 96)
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = torch.stack([feature.square().mean() for feature in net(x)]).sum()
    weights = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    kept = sum(size for pointer, (size, _) in seen.items() if pointer not in weights)
    seen.clear()
    loss.backward()
    return kept, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", dict(drop_path_rate=0.2, options=dict(depth=4))),
        ("convnext_atto", dict(drop_path_rate=0.2, options=dict(depths=(2, 2, 2, 2)))),
        ("mit_b0", dict(drop_path_rate=0.2)),
        ("swin_tiny_patch4_window7_224", dict(drop_path_rate=0.2, options=dict(embed_dim=24, num_heads=(1, 2, 4, 8)))),
        ("resnet10t", dict(norm_eval=True)),
    ],
)
def test_checkpointing_keeps_less_and_gives_the_same_gradients(name, arguments):
    net = Timm(name, **arguments).train()
    kept, grads = _saved(net)
    lean = Timm(name, **arguments, grad_checkpointing=True).train()
    lean.load_state_dict(net.state_dict())
    less, again = _saved(lean)
    assert less < kept * (0.75 if name == "resnet10t" else 0.4)
    assert grads.keys() == again.keys() and all(torch.equal(grads[key], again[key]) for key in grads)
