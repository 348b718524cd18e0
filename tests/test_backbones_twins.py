"""Twins-SVT: windows at the border, normalizations between the stages."""

import pytest
import torch
from timm.models.twins import LocallyGroupedAttn

from segkit.backbones.timm_twins import MaskedWindows, TimmTwins
from segkit.registry import ConfigError

NARROW = dict(embed_dims=(8, 16, 16, 16), num_heads=(1, 2, 2, 2), depths=(2, 2, 2, 2))


def by_hand(attention: LocallyGroupedAttn, x: torch.Tensor, size: tuple[int, int], *, is_masked: bool) -> torch.Tensor:
    """Window for window and position for position."""
    side, heads, channels = attention.ws, attention.num_heads, x.shape[-1]
    height, width = size
    padded = x.new_zeros(height + -height % side, width + -width % side, channels)
    padded[:height, :width] = x.view(height, width, channels)
    result = torch.zeros_like(padded)
    for top in range(0, padded.shape[0], side):
        for left in range(0, padded.shape[1], side):
            cells = [(top + i, left + j) for i in range(side) for j in range(side)]
            real = [i for i, (y, z) in enumerate(cells) if not is_masked or (y < height and z < width)]
            qkv = torch.stack([attention.qkv(padded[y, z]) for y, z in cells])
            query, key, value = qkv.view(len(cells), 3, heads, -1).unbind(1)
            for head in range(heads):
                scores = query[:, head] @ key[real, head].T / (channels / heads) ** 0.5
                part = scores.softmax(-1) @ value[real, head]
                for (y, z), found in zip(cells, part):
                    result[y, z, head * channels // heads : (head + 1) * channels // heads] = found
    return attention.proj(result[:height, :width].reshape(1, -1, channels))


@torch.no_grad()
@pytest.mark.parametrize(("size", "is_masked"), [((5, 4), True), ((6, 4), False), ((6, 6), False), ((5, 6), False)])
def test_cells_that_pad_a_map_are_left_out_where_rows_and_columns_are_padded(size, is_masked):
    """Published so: where only one of the two is padded, nothing is left out."""
    attention = LocallyGroupedAttn(8, 2, ws=3).eval()
    x = torch.randn(1, size[0] * size[1], 8)
    expected = by_hand(attention, x, size, is_masked=is_masked)
    assert torch.allclose(MaskedWindows(attention).eval()(x, size), expected, atol=1e-5)
    assert torch.allclose(attention(x, size), expected, atol=1e-5) != is_masked


@torch.no_grad()
def test_each_stage_is_normalized_before_the_next_reads_it():
    net = TimmTwins("twins_svt_small", options=NARROW).eval()
    seen = []
    net.encoder.model.patch_embeds[1].register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    first = net(torch.randn(1, 3, 40, 72))[0]
    assert torch.equal(seen[0][..., :10, :18], first)
    assert first.mean(1).abs().max() < 1e-5 and (first.var(1, unbiased=False) - 1).abs().max() < 1e-2


@pytest.mark.parametrize("name", ["twins_pcpvt_small", "resnet18"])
def test_another_encoder_is_refused(name):
    with torch.device("meta"), pytest.raises(ConfigError, match="is no Twins-SVT; name twins_svt_small"):
        TimmTwins(name)
