"""loop.amp: what "auto" means on a device, and what the head of the log says of it."""

import pytest
import torch

from segkit.engine import setup
from segkit.registry import ConfigError

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
