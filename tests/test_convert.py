"""Published files: tensors are read, objects are not; names are mapped one to one."""

import pickle
import sys
import types

import pytest
import torch

from segkit import api
from segkit.cli.main import main
from segkit.convert.published import read_published
from segkit.readers.python_config import dump
from tests.tiny import sections


@pytest.fixture
def foreign(tmp_path):
    """A file in the form of mmengine's: state_dict, meta, and objects of classes that are gone when it is read."""
    module = types.ModuleType("gone_package")

    class HistoryBuffer:
        def __init__(self):
            self.values = [1.0, 2.0]

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = "gone_package", "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer
    sys.modules["gone_package"] = module
    weights = {"module.w": torch.arange(6.0).view(2, 3), "module.n": torch.tensor(3)}
    meta = {"CLASSES": ["a", "b"], "PALETTE": [[0, 0, 0], [1, 2, 3]]}
    content = {"state_dict": weights, "meta": meta, "message_hub": {"loss": HistoryBuffer()}}
    torch.save(content, tmp_path / "foreign.pth")
    del sys.modules["gone_package"]
    return tmp_path / "foreign.pth"


def test_tensors_are_read_and_unknown_classes_passed_over(foreign):
    weights, meta = read_published(foreign)
    assert torch.equal(weights["w"], torch.arange(6.0).view(2, 3)) and int(weights["n"]) == 3
    assert meta == {"meta": {"CLASSES": ["a", "b"], "PALETTE": [[0, 0, 0], [1, 2, 3]]}}


class Evil:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_is_executed(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": {"w": torch.ones(2)}, "evil": Evil()}
    torch.save(content, "evil.pth", _use_new_zipfile_serialization=zipped)
    weights, _ = read_published("evil.pth")
    assert torch.equal(weights["w"], torch.ones(2)) and not (tmp_path / "executed").exists()
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"raw.pth"):
        read_published("raw.pth")
    assert not (tmp_path / "executed").exists()


def test_the_command_maps_checks_and_writes(tmp_path, capsys):
    """A model under the published names of torchvision's FCN comes back with its own."""
    cfg = sections()
    head = dict(type="FCNHead", channels=512, num_convs=1, concat_input=False)
    backbone = dict(type="Timm", name="resnet50", output_stride=8)
    cfg["model"] = dict(num_classes=6, backbone=backbone, head=head, aux=[{**head, "level": -2, "channels": 256}])
    (tmp_path / "own.py").write_text(dump(cfg))
    model = api.build_model(cfg["model"])
    torch.save({"state_dict": {"stray.weight": torch.ones(1)}}, tmp_path / "stray.pth")
    words = ["convert", str(tmp_path / "stray.pth"), str(tmp_path / "out.pt"), "--config", str(tmp_path / "own.py")]
    assert main([*words, "--from", "torchvision_fcn"]) == 2
    assert "do not match this model one to one" in capsys.readouterr().err
    assert main([*words, "--from", "torchvision_fnc"]) == 2
    assert "did you mean 'torchvision_fcn'" in capsys.readouterr().err
    published = published_names(model.state_dict())
    torch.save(published, tmp_path / "stray.pth")
    same = [word.replace("out.pt", "stray.pth") for word in words]
    assert main(same) == 2 and "the result would replace it; choose another OUT" in capsys.readouterr().err
    assert main([*words, "--from", "torchvision_fcn"]) == 0
    back = api.load_model(None, tmp_path / "out.pt").state_dict()
    assert all(torch.equal(value, back[key]) for key, value in model.state_dict().items())


def published_names(own: dict) -> dict:
    """segkit's names of this FCN -> torchvision's, written out against the rules' direction."""
    table = {
        "head.convs.0.conv.": "classifier.0.",
        "head.convs.0.bn.": "classifier.1.",
        "head.classifier.": "classifier.4.",
        "aux.0.convs.0.conv.": "aux_classifier.0.",
        "aux.0.convs.0.bn.": "aux_classifier.1.",
        "aux.0.classifier.": "aux_classifier.4.",
        "backbone.encoder.": "backbone.",
    }
    out = {}
    for key, value in own.items():
        old, new = next((a, b) for a, b in table.items() if key.startswith(a))
        out[new + key.removeprefix(old)] = value
    return out


def test_the_maps_are_listed(capsys):
    assert main(["convert", "--list"]) == 0
    assert "mmseg_unet" in capsys.readouterr().out
