"""What every loss promises: one float32 scalar, 0 on ignored crops, finite tails, no host sync, gradient, compile."""

import pytest
import torch

from tests.losses.cases import CASES, Case

pytestmark = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def loss_and_gradient(case: Case, logits: torch.Tensor, rest: list) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.clone().requires_grad_()
    value = case.build()(logits, *rest)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def test_value_is_a_float32_scalar_also_for_low_precision_and_under_autocast(case):
    logits, rest = case.inputs()
    expected, gradient = loss_and_gradient(case, logits, rest)
    assert expected.shape == () and expected.dtype == torch.float32 and expected != 0 and gradient.abs().sum() > 0
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss_and_gradient(case, logits, rest)[0], expected)
    rounded, low_gradient = loss_and_gradient(case, logits.bfloat16(), rest)
    assert rounded.dtype == torch.float32 and low_gradient.dtype == torch.bfloat16
    assert torch.equal(rounded, loss_and_gradient(case, logits.bfloat16().float(), rest)[0])


def test_nothing_valid_gives_zero_with_a_graph(case):
    if case.kind in ("features", "maps", "scores", "cost"):
        pytest.skip("there is no target")
    logits, rest = case.inputs()
    value, gradient = loss_and_gradient(case, logits, case.nothing_valid(rest))
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize("scale", [50.0, 1e4])
def test_large_logits_give_finite_values_and_gradients(case, scale):
    logits, rest = case.inputs()
    logits = torch.where(logits > 0, scale, -scale)
    if case.kind in ("teacher", "edge", "student"):
        rest = [rest[0].sign() * scale, *rest[1:]]
    value, gradient = loss_and_gradient(case, logits, rest)
    assert value.isfinite() and gradient.isfinite().all()


def test_ignored_pixels_change_nothing(case):
    logits, rest = case.inputs()
    if not case.has_pixels:
        pytest.skip("the logits have no pixels")
    ignored = rest[case.target_at] == case.ignored_value
    ignored = ignored.expand_as(logits) if ignored.dim() == logits.dim() else ignored.unsqueeze(1).expand_as(logits)
    value, gradient = loss_and_gradient(case, logits, rest)
    other, _ = loss_and_gradient(case, torch.where(ignored, 3 - logits, logits), rest)
    assert ignored.any() and not gradient[ignored].any()
    assert other == pytest.approx(value.item(), rel=1e-6)


def test_gradient_is_that_of_the_value(case):
    if case.name in ("NormalizedFocal", "WeightedFocal") and case.own.get("detach", True):
        pytest.skip("its normalizer is kept out of the gradient: see test_focal.py")
    logits, rest = case.inputs(dtype=torch.float64)
    loss = case.build()
    logits = logits.requires_grad_()
    assert loss(logits, *rest).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda x: loss(x, *rest), (logits,), fast_mode=True)


def test_no_value_is_read_on_the_host(case):
    """Tensors on the meta device have no values: reading one, or a shape that depends on one, is an error."""
    logits, rest = case.inputs()
    logits = logits.to("meta").requires_grad_()
    value = case.build().to("meta")(logits, *(part.to("meta") for part in rest))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.shape == () and gradient.shape == logits.shape


def test_compiles_as_one_graph(case):
    if case is not next(other for other in CASES if other.name == case.name):
        pytest.skip("each case is compiled by a slow test, each loss here")
    assert_compiles(case)


@pytest.mark.slow
def test_every_case_compiles_as_one_graph(case):
    assert_compiles(case)


def assert_compiles(case: Case) -> None:
    logits, rest = case.inputs()
    expected, expected_gradient = loss_and_gradient(case, logits, rest)
    torch._dynamo.reset()
    compiled = torch.compile(case.build(), backend="aot_eager", fullgraph=True, dynamic=False)
    logits = logits.clone().requires_grad_()
    value = compiled(logits, *rest)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_order_of_images_does_not_matter(case):
    logits, rest = case.inputs(seed=1)
    value, gradient = loss_and_gradient(case, logits, rest)
    flipped, flipped_gradient = loss_and_gradient(case, logits.flip(0), [part.flip(0) for part in rest])
    torch.testing.assert_close(flipped, value)
    torch.testing.assert_close(flipped_gradient.flip(0), gradient)
