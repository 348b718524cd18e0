"""A last layer that starts from the training labels: once, before the first step, and the same for every process."""

import pytest
import torch

from segkit.archs.dupsampling import DUpsamplingHead, label_patches, leading_axes
from segkit.data.loader import collate_train
from segkit.engine import checkpoint
from segkit.readers.python_config import dump
from tests.test_distributed import torchrun
from tests.test_loop import Record, loop_of
from tests.tiny import sections


def fitted_sections(**loop) -> dict:
    cfg = sections(**loop)
    cfg["model"]["head"] = dict(type="DUpsamplingHead", channels=16, low_level=-2, low_channels=4, dropout=0.0)
    cfg["train"]["batch_size"] = 4
    return cfg


def fit_decoder(patches: torch.Tensor, channels: int) -> torch.Tensor:
    """Decoder [D,channels] of the linear autoencoder of patches [P,D], all of them at once (eq. 3)."""
    return leading_axes((patches.T @ patches).double(), channels)


def expected(loop) -> torch.Tensor:
    """W of the twelve masks of the first three batches, as the first steps see them."""
    samples = [loop.items[(position, loop.sampler.index(position))] for position in range(12)]
    masks = collate_train(samples)["mask"]
    return fit_decoder(label_patches(masks, 6, ratio=2), 16)


def same_axes(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal up to the sign of each column."""
    return torch.allclose((a * b).sum(0).abs(), torch.ones(a.shape[1]), atol=1e-4)


def test_the_first_step_starts_from_the_labels(tmp_path):
    cfg = fitted_sections(ema=0.9)
    cfg["optimizer"]["lr"] = 0.0
    loop = loop_of(cfg, tmp_path)
    before = loop.raw_model.head.up.weight.clone()
    assert not loop.raw_model.head.is_fitted
    loop.fit()
    ours = loop.raw_model.head.up.weight[:, :, 0, 0]
    assert same_axes(ours, expected(loop)) and not same_axes(before[:, :, 0, 0], ours)
    assert torch.allclose(loop.ema.module.head.up.weight[:, :, 0, 0], ours, atol=1e-6)
    assert loop.raw_model.head.is_fitted == 1


def test_without_images_the_start_is_random(tmp_path):
    cfg = fitted_sections()
    cfg["model"]["head"]["fit_images"] = 0
    cfg["optimizer"]["lr"] = 0.0
    loop = loop_of(cfg, tmp_path)
    before = loop.raw_model.head.up.weight.clone()
    loop.fit()
    assert torch.equal(loop.raw_model.head.up.weight, before)


def test_a_resumed_run_is_not_fitted_again(tmp_path, monkeypatch):
    cfg = fitted_sections()
    unbroken, first, rest = Record(), Record(), Record()
    loop_of(cfg, tmp_path / "a", (unbroken,)).fit()
    stopped = loop_of(cfg, tmp_path / "b", (first,))
    stopped.total_steps = 3
    stopped.fit()
    state = stopped.state_dict()
    resumed = loop_of(cfg, tmp_path / "b", (rest,))
    resumed.load_state_dict(state, "last.pt")
    monkeypatch.setattr(DUpsamplingHead, "fit", lambda *_: pytest.fail("fitted again"))
    resumed.fit()
    assert first.losses + rest.losses == unbroken.losses


def test_weights_to_start_from_are_kept(tmp_path, monkeypatch):
    cfg = fitted_sections()
    cfg["loop"]["steps"] = 1
    source = loop_of(cfg, tmp_path / "a")
    source.fit()
    torch.save({"model": source.raw_model.state_dict()}, tmp_path / "a.pt")
    monkeypatch.setattr(DUpsamplingHead, "fit", lambda *_: pytest.fail("fitted again"))
    loop_of(cfg | {"init": dict(path=str(tmp_path / "a.pt"))}, tmp_path / "b").fit()


def test_masks_are_brought_to_the_size_of_the_logits():
    """Two pixels of the image per cell of the logits."""
    head = DUpsamplingHead((3, 4), 2, (2, 4), channels=6, low_level=-2, ratio=2)
    masks = torch.randint(0, 2, (3, 16, 16), generator=torch.Generator().manual_seed(0))
    head.fit([masks])
    weight = fit_decoder(label_patches(masks[:, ::2, ::2], 2, ratio=2), 6)
    assert same_axes(head.up.weight[:, :, 0, 0], weight)


def test_patches_of_too_many_values_are_named():
    with torch.device("meta"):
        head = DUpsamplingHead((3, 4), 150, (2, 16), low_level=-2)
    with pytest.raises(ValueError, match=r"38400 values per patch.*fit_images = 0"):
        head.fit([])


@pytest.mark.slow
def test_two_processes_start_from_the_same_weights(tmp_path):
    weights = []
    for processes in (1, 2):
        cfg = fitted_sections()
        cfg["train"]["batch_size"], cfg["loop"]["steps"], cfg["optimizer"]["lr"] = 4 // processes, 3, 0.0
        (tmp_path / f"run{processes}.py").write_text(dump(cfg))
        torchrun(processes, tmp_path, "train", f"run{processes}.py", "--device", "cpu")
        weights.append(checkpoint.read(tmp_path / f"work_dirs/run{processes}/last.pt")["model"]["head.up.weight"])
    assert torch.equal(*weights)
