"""Normalizations folded into convolutions: equal answers, kept until a weight changes."""

import torch
from torch import nn

from segkit.ops.fold_norms import folded


def network(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(*layers)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values in (norm.running_mean, *norm.parameters()):
                values.data.normal_()
            norm.running_var.uniform_(0.5, 2)
    return model.eval()


def ask(image: torch.Tensor):
    return lambda model: model(image)


def test_folded_by_hand():
    model = network(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0))
    conv, norm = model
    conv.weight.data.fill_(3.0)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    norm.weight.data.fill_(5.0)
    norm.bias.data.fill_(1.0)
    image = torch.arange(8.0).view(1, 1, 2, 4)
    own = folded(model, ask(image))
    assert own[0].weight.item() == 7.5 and own[0].bias.item() == -4.0  # 5 (3 x - 2) / 2 + 1
    assert isinstance(own[1], nn.Identity) and isinstance(model[1], nn.BatchNorm2d)


@torch.no_grad()
def test_folded_answers_the_same_with_groups_biases_and_no_affine():
    model = network(
        nn.Conv2d(4, 8, 3, groups=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, 2, 1),
        nn.BatchNorm2d(6, affine=False),
        nn.Conv2d(6, 3, 1),
    )
    image = torch.randn(2, 4, 20, 24)
    own = folded(model, ask(image))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in own.modules())
    other = torch.randn(2, 4, 20, 24)
    assert (own(other) - model(other)).abs().max() < 1e-5 * model(other).std()


@torch.no_grad()
def test_kept_until_a_tensor_changes():
    model, image = network(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)), torch.randn(1, 3, 9, 9)
    own = folded(model, ask(image))
    assert folded(model, ask(image)) is own
    model[1].running_mean.add_(1.0)
    again = folded(model, ask(image))
    assert again is not own and torch.allclose(again(image), model(image), atol=1e-5)
    model.load_state_dict({name: value + 0.5 for name, value in model.state_dict().items()})
    assert torch.allclose(folded(model, ask(image))(image), model(image), atol=1e-5)


class Read(nn.Module):
    """A convolution whose output is also added to the normalized one."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = network(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.bn(x) + x


@torch.no_grad()
def test_an_output_with_another_reader_is_left_alone():
    model = Read().eval()
    assert folded(model, ask(torch.randn(1, 3, 9, 9))) is model
    assert isinstance(model.bn, nn.BatchNorm2d)


@torch.no_grad()
def test_a_convolution_used_twice_and_a_model_without_norms_are_left_alone():
    conv, norm, plain = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Sequential(nn.Conv2d(3, 3, 1)).eval()
    twice, image = nn.Sequential(conv, norm, conv).eval(), torch.randn(1, 3, 9, 9)
    assert folded(twice, ask(image)) is twice
    assert folded(plain, ask(image)) is plain
