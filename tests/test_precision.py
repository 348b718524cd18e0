"""loop.amp: what "auto" means on a device, and what the head of the log says of it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from timm.layers import create_conv2d
from torch import nn

from segkit.engine import setup
from segkit.engine.loop import Loop
from segkit.models.depthwise import depthwise_in_float32
from segkit.registry import ConfigError
from segkit.runners.base import build_runner
from tests.tiny import sections

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("computes", "dtype", "said"),
    [(True, torch.bfloat16, "amp auto (bf16)"), (False, torch.float32, "amp auto (off: this cpu has no bfloat16)")],
)
def test_auto_takes_bfloat16_where_the_device_computes_with_it(computes, dtype, said, monkeypatch):
    monkeypatch.setattr(setup, "has_bf16", lambda device: computes)
    assert setup.amp_dtype("auto", CPU) is dtype
    assert setup.precision("auto", CPU) == said


def test_imitated_bfloat16_is_said(monkeypatch):
    monkeypatch.setattr(setup, "has_bf16", lambda device: False)
    assert setup.amp_dtype("bf16", CPU) is torch.bfloat16, "what is asked for by name is done"
    assert "loop.amp='auto' is many times as fast" in setup.precision("bf16", CPU)
    monkeypatch.setattr(setup, "has_bf16", lambda device: True)
    assert setup.precision("bf16", CPU) == "amp bf16" and setup.precision("off", CPU) == "amp off"


def test_has_bf16_asks_the_processor():
    assert setup.has_bf16(CPU) is bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    assert not setup.has_bf16(torch.device("mps"))


def test_wrong_names():
    with pytest.raises(ConfigError, match=r"loop.amp = 'half': must be one of 'auto', 'off', 'bf16', 'fp16'"):
        setup.amp_dtype("half", CPU)
    with pytest.raises(ConfigError, match="needs a GPU; on the CPU use 'auto'"):
        setup.amp_dtype("fp16", CPU)


def test_depthwise_convolutions_stay_in_float32_within_autocast():
    torch.manual_seed(0)
    same = create_conv2d(6, 6, 3, stride=2, padding="same", depthwise=True)  # a class of timm's
    model = nn.Sequential(nn.Conv2d(3, 6, 1), same, nn.Conv2d(6, 6, 5, padding=2, groups=6), nn.Conv2d(6, 4, 1))
    names, kinds = [name for name, _ in model.named_parameters()], [type(layer) for layer in model]
    x = torch.randn(2, 3, 9, 7)
    depthwise_in_float32(model)
    depthwise_in_float32(model)  # once more changes nothing
    copied = copy.deepcopy(model)
    assert [name for name, _ in copied.named_parameters()] == names
    assert all(isinstance(layer, kind) for layer, kind in zip(copied, kinds))
    assert [type(layer) is kind for layer, kind in zip(copied, kinds)] == [True, False, False, True]
    values, dtypes = x, []
    with torch.autocast("cpu", torch.bfloat16):
        for layer in copied:
            before, values = values, layer(values)
            dtypes.append(values.dtype)
            if layer is copied[1]:
                with torch.autocast("cpu", enabled=False):
                    padded = F.pad(before.float(), (1, 1, 1, 1))  # 9 x 7 at stride 2: one pixel on every side
                    expected = F.conv2d(padded, layer.weight, layer.bias, stride=2, groups=6)
                assert torch.equal(values, expected)
    assert dtypes == [torch.bfloat16, torch.float32, torch.float32, torch.bfloat16]
    values.float().sum().backward()
    assert all(parameter.grad is not None for parameter in copied.parameters())


@pytest.mark.parametrize("amp", ["bf16", "off"])
def test_a_cpu_that_trains_in_bfloat16_keeps_depthwise_convolutions_precise(amp, tmp_path):
    cfg = sections(amp=amp)
    cfg["model"]["backbone"] = dict(type="Timm", name="mobilenetv3_small_050", pretrained=False)
    loop = Loop(cfg, build_runner(cfg), work_dir=tmp_path, device=CPU)
    kept = [m for m in loop.raw_model.modules() if isinstance(m, nn.Conv2d) and 1 < m.groups == m.in_channels]
    assert kept
    with torch.autocast("cpu", torch.bfloat16):
        dtypes = {layer(torch.zeros(1, layer.in_channels, 8, 8)).dtype for layer in kept}
    assert dtypes == {torch.float32 if amp == "bf16" else torch.bfloat16}
