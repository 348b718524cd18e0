"""WideResNet-38: strides, dropout, published files; and the image that a head reads beside the features."""

import pytest
import torch
from torch import nn

from segkit.backbones.wide_resnet38 import WideResNet38
from segkit.models.bases import Head
from segkit.models.segmentor import Segmentor
from segkit.registry import ConfigError


@torch.no_grad()
@pytest.mark.parametrize(("output_stride", "strides"), [(8, (1, 2, 4, 8, 8, 8, 8)), (32, (1, 2, 4, 8, 16, 32, 32))])
def test_maps_are_where_the_strides_say(output_stride, strides):
    encoder = WideResNet38(4, 4, output_stride=output_stride).eval()
    assert encoder.strides == strides and encoder.channels == (4, 8, 16, 32, 64, 128, 256)
    x, clicks = torch.randn(2, 4, 65, 97), torch.randn(2, 4, 65, 97)
    features, clicked = encoder(x), encoder(x, stem_add=clicks)
    shapes = [tuple(map_.shape) for map_ in features]
    assert shapes == [(2, c, -(-65 // s), -(-97 // s)) for c, s in zip(encoder.channels, strides)]
    assert torch.allclose(clicked[0] - features[0], clicks, atol=1e-5)
    assert not torch.equal(clicked[-1], features[-1])


def test_dilation_and_dropout_are_the_published():
    with torch.device("meta"):
        encoder = WideResNet38()
    dilations = [
        {
            conv.dilation[0]
            for conv in encoder.get_submodule(stage).modules()
            if getattr(conv, "kernel_size", 0) == (3, 3)
        }
        for stage in encoder.stages
    ]
    assert dilations == [{1}, {1}, {1}, {2}, {4}, {4}]
    dropped = {name: part.p for name, part in encoder.named_modules() if isinstance(part, nn.Dropout2d)}
    assert dropped == {"mod6.block1.convs.dropout": 0.3, "mod7.block1.convs.dropout": 0.5}
    assert sum(p.numel() for p in encoder.parameters()) == 105_062_720
    with pytest.raises(ConfigError, match=r"backbone\.output_stride = 16: must be one of 8, 32"):
        WideResNet38(output_stride=16)


def test_published_files_load_with_and_without_the_numbers_of_normalizations(tmp_path):
    """The ImageNet file also holds a last normalization and a classifier, which nothing reads."""
    torch.manual_seed(0)
    stored = WideResNet38(3, 4)
    published = {}
    for name, value in stored.state_dict().items():
        published["module." + name.replace("bn1.", "bn1.0.").replace("bn2.", "bn2.0.").replace("bn3.", "bn3.0.")] = (
            value
        )
    published |= {"module.bn_out.0.weight": torch.ones(256), "module.classifier.fc.bias": torch.ones(1000)}
    torch.save({"state_dict": published}, tmp_path / "wider_resnet38.pth.tar")
    torch.save(stored.state_dict(), tmp_path / "own.pth")
    for name in ("wider_resnet38.pth.tar", "own.pth"):
        loaded = WideResNet38(3, 4, pretrained=tmp_path / name)
        assert all(torch.equal(value, stored.state_dict()[key]) for key, value in loaded.state_dict().items())
        assert loaded.is_pretrained
    with pytest.raises(ConfigError, match="no package holds these weights; give the path of a file"):
        WideResNet38(3, 4, pretrained=True)
    with pytest.raises(ConfigError, match="these weights are of another encoder"):
        WideResNet38(3, 8, pretrained=tmp_path / "own.pth")


class Pixels(Head):
    needs = ("pixels",)

    def forward(self, features, pixels):
        return {"logits": features[-1], "pixels": pixels}


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("where", ["head", "aux"])
def test_pixels_are_those_of_the_image(order, where):
    """All values of uint8, in red, green and blue order whatever the encoder reads; floats are rounded and cut."""
    encoder, other = WideResNet38(3, 2), Pixels() if where == "aux" else None
    encoder.order = order
    head = Pixels()
    model = Segmentor(2, encoder, head, aux=(other,) if other else ())
    image = torch.randint(0, 256, (2, 3, 32, 40), dtype=torch.uint8)
    image[0, :, :8, :32] = torch.arange(256, dtype=torch.uint8).view(8, 32)
    name = "pixels" if where == "head" else "aux0.pixels"
    assert torch.equal(model(image)[name], image)
    assert torch.equal(model(image.float() + 0.3)[name], image)
    assert model(torch.full((2, 3, 32, 40), 300.0))[name].unique().tolist() == [255]
