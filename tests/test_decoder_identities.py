"""What the papers of the decoders say of their parts, by hand or against slow references."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.archs._large_kernel import GlobalConvolution
from segkit.archs._unpooling import PoolingEncoder, unpool
from segkit.archs.attention_unet import AttentionGate
from segkit.archs.dupsampling import DUpsamplingHead, label_patches, leading_axes
from segkit.archs.exfuse import SemanticEmbedding, mean_of_neighbors
from segkit.archs.fcn_vgg import FCNSkipHead, bilinear_up
from segkit.archs.hypercolumns import HypercolumnHead
from segkit.archs.pan import GlobalAttentionUpsample
from segkit.archs.refinenet import ChainedPooling, ResidualConvUnit
from segkit.archs.sfnet import FlowAlignment
from segkit.backbones.timm_unpooled import TimmUnpooled
from segkit.registry import ConfigError
from tests.archs_table import build


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def test_no_flow_is_bilinear_and_a_flow_shifts():
    align, low, high = FlowAlignment(4), torch.randn(1, 4, 9, 13), torch.randn(1, 4, 5, 7)
    align.flow.weight.zero_()
    expected = F.interpolate(high, (9, 13), mode="bilinear", align_corners=True)
    assert torch.allclose(align(low, high), expected, atol=1e-5)
    # On a ramp a flow of 2 to the right adds 2 * (w - 1) / (2 W) of a coarse cell: 2 * 6 / 26.
    align.flow = nn.Conv2d(4, 2, 3, padding=1)
    align.flow.weight.zero_(), align.flow.bias.copy_(torch.tensor([2.0, 0.0]))
    ramp = torch.arange(7.0).expand(1, 4, 5, 7)
    shifted = align(low, ramp) - F.interpolate(ramp, (9, 13), mode="bilinear", align_corners=True)
    assert torch.allclose(shifted[..., :12], torch.tensor(12 / 26), atol=1e-5)


@torch.no_grad()
def test_pan_weighs_channels_of_the_fine_map_by_the_coarse_one():
    block = GlobalAttentionUpsample(3, 2, align_corners=True).eval()
    block.gate.bn.weight.zero_(), block.gate.bn.bias.zero_()
    low, high = torch.randn(1, 3, 6, 8), torch.randn(1, 2, 3, 4)
    expected = 0.5 * block.low(low) + F.interpolate(high, (6, 8), mode="bilinear", align_corners=True)
    assert torch.allclose(block(low, high), expected, atol=1e-6)


@torch.no_grad()
def test_attention_gate():
    assert count(AttentionGate(256, 512, channels=256)) == 460_033
    gate = AttentionGate(4, 6).eval()
    x, coarse = torch.randn(2, 4, 7, 9), torch.randn(2, 6, 4, 5)
    weights = gate.weights(x, coarse)
    assert weights.shape == (2, 1, 7, 9) and gate(x, coarse).shape == x.shape
    assert ((weights > 0) & (weights < 1)).all()
    gate.psi.bias.fill_(100.0)
    assert torch.allclose(gate(x, coarse), gate.out(x))
    shared = AttentionGate(4, 6, factor=1, normalize="softmax").weights(x, coarse)
    assert torch.allclose(shared.sum((2, 3)), torch.ones(2, 1))
    with pytest.raises(ValueError, match="'sigmoid', 'softmax'"):
        AttentionGate(4, 6, normalize="tanh")


@torch.no_grad()
def test_refinement_blocks():
    pool, unit, x = ChainedPooling(2), ResidualConvUnit(2), torch.full((1, 2, 6, 7), 3.0)
    for conv in pool.convs:
        nn.init.dirac_(conv.weight)
    assert torch.equal(pool(x), 5 * x), "a constant stays one, at the border too, and every link adds it"
    nn.init.zeros_(unit.conv2.weight)
    assert torch.equal(unit(x), x)


def test_refinenet_has_the_published_cost():
    model = build("refinenet_r101", 21, device="meta").eval().to("meta")
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 500, 500, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(254.0, rel=0.001)


@torch.no_grad()
def test_large_kernels_are_the_sum_of_two_separable_ones():
    block, x = GlobalConvolution(1, 1, 5), torch.randn(1, 1, 9, 11)
    for conv in (*block.rows_first, *block.columns_first):
        conv.bias.zero_()
    tall, wide = (conv.weight.flatten() for conv in block.rows_first)
    wide2, tall2 = (conv.weight.flatten() for conv in block.columns_first)
    whole = (tall.outer(wide) + tall2.outer(wide2)).view(1, 1, 5, 5)
    expected = F.conv2d(x, whole, padding=2)
    assert torch.allclose(block(x), expected, atol=1e-5)
    sizes = [count(GlobalConvolution(8, 3, kernel)) for kernel in (3, 5, 7)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] == 2 * 2 * 3 * (8 + 3)
    with pytest.raises(ValueError, match="must be odd"):
        GlobalConvolution(8, 3, 4)


@torch.no_grad()
def test_fcn_upsampling_starts_bilinear_and_keeps_the_papers_sizes():
    up = bilinear_up(3, 4, learned=False)
    constant = up(torch.ones(1, 3, 5, 6))
    assert torch.allclose(constant[..., 4:-4, 4:-4], torch.ones(()))
    x = torch.randn(1, 3, 5, 6)
    expected = F.interpolate(x, scale_factor=4, mode="bilinear")
    assert torch.allclose(up(x)[..., 2:-2, 2:-2][..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4], atol=1e-5)
    published = {"fcn32s_vgg16": 136_152_917, "fcn16s_vgg16": 134_815_994, "fcn8s_vgg16": 134_489_759}
    for name, size in published.items():
        model = build(name, 21, device="meta").eval().to("meta")
        assert count(model) == size
        assert model(torch.empty(1, 3, 500, 500, device="meta"))["logits"].shape == (1, 21, 500, 500)
    with pytest.raises(ValueError, match="VGG16 with padding=100"):
        FCNSkipHead((64, 128, 256, 512), 21)


@torch.no_grad()
def test_unpooling_puts_maxima_back_where_they_were():
    x = torch.randn(2, 3, 7, 9)
    pooled, index = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    back = unpool(pooled, index, (7, 9))
    assert torch.equal(back[back != 0], x[back != 0])
    assert (back != 0).sum() == pooled.numel()
    assert torch.equal(
        back[..., :6, :8], F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=(7, 9))[..., :6, :8]
    )
    encoder = PoolingEncoder(3, (64, 128, 256, 512, 512))
    assert sum(p.numel() for p in encoder.parameters() if p.dim() == 4) == 14_710_464


@torch.no_grad()
def test_hypercolumns_are_the_classifier_of_the_concatenation():
    features = [torch.randn(1, width, side, side + 2) for width, side in ((3, 12), (4, 6), (5, 3))]
    head = HypercolumnHead((3, 4, 5), 2, levels=(-3, -2, -1))
    column = torch.cat([F.interpolate(f, (12, 14), mode="bilinear") for f in features], dim=1)
    weight = torch.cat([conv.weight for conv in head.scores], dim=1)
    expected = F.conv2d(column, weight, head.scores[0].bias)
    assert torch.allclose(head(features)["logits"], expected, atol=1e-5)
    # Cells that all hold the same classifier are one classifier.
    gridded = HypercolumnHead((3, 4, 5), 2, levels=(-3, -2, -1), grid=3)
    for many, one in zip(gridded.scores, head.scores):
        many.weight.copy_(one.weight.repeat(9, 1, 1, 1))
    gridded.scores[0].bias.copy_(head.scores[0].bias.repeat(9))
    assert torch.allclose(gridded(features)["logits"], expected, atol=1e-5)
    # A pixel in the middle of the first cell has that cell's classifier alone.
    gridded.scores[0].bias.copy_(torch.arange(18.0))
    for conv in gridded.scores:
        conv.weight.zero_()
    assert gridded(features)["logits"][0, :, 0, 0].tolist() == [0, 1]


@torch.no_grad()
def test_neighbours_decide_on_a_pixel():
    same = torch.tensor([2.0, 5.0]).view(1, 2, 1, 1, 1).expand(1, 2, 9, 4, 5).flatten(1, 2)
    assert torch.allclose(mean_of_neighbors(same, 3), torch.tensor([2.0, 5.0]).view(1, 2, 1, 1).expand(1, 2, 4, 5))
    scores = torch.randn(1, 18, 4, 5)
    ours = mean_of_neighbors(scores, 3)
    for k in range(2):
        for y, x in ((0, 0), (2, 3), (3, 1)):
            heard = [
                scores[0, (k * 3 + i) * 3 + j, y + i - 1, x + j - 1]
                for i in range(3)
                for j in range(3)
                if 0 <= y + i - 1 < 4 and 0 <= x + j - 1 < 5
            ]
            assert ours[0, k, y, x] == pytest.approx(float(sum(heard) / len(heard)), abs=1e-5)


@torch.no_grad()
def test_semantic_embedding_of_ones_returns_the_map():
    block, low = SemanticEmbedding(3, (4, 5), align_corners=False), torch.randn(1, 3, 8, 9)
    deeper = [torch.randn(1, 4, 4, 5), torch.randn(1, 5, 2, 3)]
    first, second = (F.interpolate(conv(x), (8, 9), mode="bilinear") for conv, x in zip(block.convs, deeper))
    assert torch.allclose(block(low, deeper), low * first * second, atol=1e-5)
    for conv in block.convs:
        conv.weight.zero_()
    assert torch.equal(block(low, deeper), low)


@torch.no_grad()
def test_dupsampling_is_a_pixel_shuffle_behind_its_layer():
    head = DUpsamplingHead((3, 4), 2, (2, 4), channels=32, low_level=-2, low_channels=2, dropout=0.0).eval()
    assert head.up.weight.shape == (2 * 16, 32, 1, 1)
    head.up.weight.copy_(torch.eye(32)[:, :, None, None])
    head.temperature.fill_(2.0)
    seen = []
    head.code.register_forward_hook(lambda *arguments: seen.append(arguments[2]))
    logits = head([torch.randn(1, 3, 9, 7), torch.randn(1, 4, 5, 4)], size=(18, 14))["logits"]
    assert torch.allclose(logits, F.pixel_shuffle(seen[0], 4)[..., :18, :14] / 2)
    reference = DUpsamplingHead((256, 512, 1024, 2048), 21, (4, 8, 16, 16))
    assert reference.up.weight.numel() == 1_376_256


@torch.no_grad()
def test_fitted_decoder_beats_bilinear_on_masks_it_has_not_seen():
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    centres = torch.rand(24, 2) * 32
    distance = (rows - centres[:, 0, None, None]).square() + (columns - centres[:, 1, None, None]).square()
    masks = (distance < 100).long()
    masks[0, :3] = 255
    patches = label_patches(masks[:16], 2, ratio=4)
    decoder = leading_axes((patches.T @ patches).double(), 6)
    unseen = label_patches(masks[16:], 2, ratio=4)
    error = (unseen @ decoder @ decoder.T - unseen).square().mean()
    one_hot = F.one_hot(masks[16:], 2).permute(0, 3, 1, 2).float()
    bilinear = F.interpolate(F.avg_pool2d(one_hot, 4), (32, 32), mode="bilinear")
    assert error < 0.5 * (bilinear - one_hot).square().mean()
    head = DUpsamplingHead((3, 4), 2, (2, 4), channels=6, low_level=-2)
    head.fit([masks[:10], masks[10:16]])
    assert torch.allclose(head.up.weight[:, :, 0, 0].T @ head.up.weight[:, :, 0, 0], torch.eye(6), atol=1e-4)


@torch.no_grad()
def test_without_pooling_maps_are_twice_as_fine_and_fields_stay():
    pooled = TimmUnpooled.__mro__[1]("resnet18")
    nets = {form: TimmUnpooled("resnet18", form).eval() for form in ("conv", "dilate")}
    x = torch.randn(1, 3, 65, 97)
    for net in nets.values():
        assert net.strides == (2, 2, 4, 8, 16)
        assert [tuple(f.shape[2:]) for f in net(x)] == [(33, 49), (33, 49), (17, 25), (9, 13), (5, 7)]
    assert pooled.state_dict().keys() == nets["dilate"].state_dict().keys()

    def field(net, jump):
        convs = [m for m in net.encoder.layer1.modules() if isinstance(m, nn.Conv2d)]
        return sum((m.kernel_size[0] - 1) * m.dilation[0] * jump for m in convs)

    assert field(pooled, 4) == field(nets["dilate"], 2) == 32
    conv = nets["conv"].encoder.maxpool
    stem = torch.randn(1, 64, 9, 9)
    assert torch.equal(conv(stem), stem) and conv.dilation == (2, 2) and conv.stride == (1, 1)
    with pytest.raises(ConfigError, match="no max pooling behind its stem"):
        TimmUnpooled("tf_efficientnet_lite0")
    with pytest.raises(ConfigError, match="'conv' or 'dilate'"):
        TimmUnpooled("resnet18", "none")
