"""The backbone whose blocks take queries, and weights of Vision Transformers for other sizes."""

import pytest
import timm
import torch

from segkit.backbones.query_vit import QueryViT
from segkit.backbones.timm import Timm
from segkit.registry import ConfigError

TINY, REGISTERS = "test_vit", "test_vit3"
ROTARY = "vit_small_patch16_dinov3_qkvb"


@torch.inference_mode()
@pytest.mark.parametrize("name, size", [(TINY, (64, 96)), (REGISTERS, (32, 48)), (ROTARY, (48, 64))])
def test_without_queries_it_is_timms_encoder(name, size):
    net = QueryViT(name, img_size=size).eval()
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    tokens = net.encoder.model.forward_features(x)
    (found,) = net(x)
    assert found.shape == (1, net.channels[0], size[0] // 16, size[1] // 16)
    assert torch.allclose(found.flatten(2).transpose(1, 2), tokens[:, -found[0, 0].numel() :], atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("name", [REGISTERS, ROTARY])
def test_tokens_that_nothing_attends_to_change_nothing(name):
    """Also the rotary positions of the patches are the same behind queries."""
    net = QueryViT(name, img_size=(48, 64)).eval()
    tokens = net.embed(torch.randn(2, 3, 40, 61, generator=torch.Generator().manual_seed(0)))
    assert tokens.size == (3, 4)
    with_queries = net.add_queries(tokens, torch.randn(7, net.channels[0]))
    total = with_queries.x.shape[1]
    mask = torch.ones(2, 1, total, total, dtype=torch.bool)
    mask[..., 7:, :7] = False
    ours = net.normalized(net.block(3, with_queries, mask)).patches
    assert torch.allclose(ours, net.normalized(net.block(3, tokens)).patches, atol=1e-5)


def test_blocks_are_computed_again_for_the_same_gradients():
    torch.manual_seed(0)
    plain = QueryViT(TINY, img_size=(32, 32))
    spare = QueryViT(TINY, img_size=(32, 32), grad_checkpointing=True)
    spare.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 32, 32)
    for net in (plain, spare):
        net.train()(x)[0].square().sum().backward()
    for ours, theirs in zip(plain.parameters(), spare.parameters()):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224", "beit_base_patch16_224"])
def test_other_encoders_are_refused(name):
    with pytest.raises(ConfigError, match=r"backbone"), torch.device("meta"):
        QueryViT(name, img_size=(224, 224))


@pytest.mark.parametrize("name", [TINY, REGISTERS])
def test_weights_of_other_sizes_are_resampled_as_timm_does(name):
    """timm's own loading, from a file, gives the reference."""
    weights = timm.create_model(name, img_size=112, patch_size=14, num_classes=0).state_dict()
    weights = {key: torch.randn_like(value) for key, value in weights.items()}
    options = dict(num_classes=0, img_size=(64, 96), patch_size=16, dynamic_img_size=True)
    theirs = timm.create_model(name, **options)
    filtered = timm.models.vision_transformer.checkpoint_filter_fn(weights, theirs)
    ours = QueryViT(name, img_size=(64, 96), pretrained=lambda: weights).encoder.model.state_dict()
    assert set(ours) <= set(filtered)  # timm has a pooling behind the encoder
    for key, value in ours.items():
        assert torch.allclose(value, filtered[key], atol=1e-5), key


def test_a_position_embedding_of_no_square_is_refused():
    weights = Timm(TINY, img_size=(64, 96)).encoder.state_dict()
    weights["model.pos_embed"] = torch.zeros(1, 1 + 23, 64)
    with pytest.raises(ConfigError, match=r"has 24 rows, which are no square of patches and 1 more"):
        Timm(TINY, img_size=(64, 64), pretrained=lambda: weights)
