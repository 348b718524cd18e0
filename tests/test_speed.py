"""What makes a step fast and must change no number: normalization by rows, memory that is kept, batches in place."""

import numpy as np
import pytest
import torch

from segkit.cli.allocator import SWITCH, VARIABLES, keep_pages
from segkit.data.loader import TrainItems, collate_train, to_device, train_loader
from segkit.data.samplers import InOrder
from segkit.data.transforms.operations import pad
from segkit.ops.normalize import normalized
from segkit.types import Meta, Sample
from tests.data.test_loader import Numbers

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalization_has_the_bits_of_its_formula(channels, dtype, layout):
    generator = torch.Generator().manual_seed(channels)
    image = torch.randint(0, 256, (2, channels, 7, 9), dtype=dtype, generator=generator).to(memory_format=layout)
    mean, std = torch.rand(2, 1, channels, 1, 1, generator=generator) * 100 + 1
    before = image.clone()
    found = normalized(image, mean, std)
    assert torch.equal(found, (image.float() - mean) / std) and found.dtype == torch.float32
    assert torch.equal(image, before), "the image must stay as it is"
    assert found.stride() == (image.float() - mean).stride() or channels == 1


def test_normalization_passes_gradients_to_the_image():
    image = torch.full((1, 3, 2, 2), 7.0).to(memory_format=torch.channels_last).requires_grad_()
    normalized(image, torch.zeros(1, 3, 1, 1), torch.full((1, 3, 1, 1), 4.0)).sum().backward()
    assert torch.equal(image.grad, torch.full((1, 3, 2, 2), 0.25))


@pytest.mark.parametrize("workers", [0, 1])
def test_labels_travel_narrow_and_arrive_as_int64(workers):
    items = TrainItems(Numbers(), [], 0)
    batch = next(train_loader(items, InOrder(Numbers()), batch_size=2, workers=workers))
    assert batch["mask"].dtype == torch.uint8 and batch["image"].dtype == torch.uint8
    moved = to_device(batch, CPU)
    assert moved["mask"].dtype == torch.int64 and batch["mask"].dtype == torch.uint8
    samples = [Numbers().sample(i, np.random.default_rng(0)) for i in (0, 1)]
    assert torch.equal(moved["mask"], collate_train(samples)["mask"])


def test_mirrored_views_and_arrays_that_must_not_change_are_collated():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    frozen = image.copy()
    frozen.flags.writeable = False
    samples = [Sample(image=array, meta=Meta(id="", path="", size=(2, 4))) for array in (image[:, ::-1], frozen)]
    batch = collate_train(samples)["image"]
    assert np.array_equal(batch[0].permute(1, 2, 0), image[:, ::-1]) and np.array_equal(
        batch[1].permute(1, 2, 0), image
    )


def test_a_batch_of_a_worker_lies_in_shared_memory():
    batch = next(train_loader(TrainItems(Numbers(4), [], 0), InOrder(Numbers(4)), batch_size=1, workers=1))
    assert batch["image"].is_shared()


@pytest.mark.parametrize("fill, expected", [(7, [7, 7, 7]), ((1, 2, 3), [1, 2, 3])])
def test_padding_has_the_color_asked_for(fill, expected):
    sample = Sample(image=np.zeros((1, 2, 3), np.uint8), meta=Meta(id="", path="", size=(1, 2)))
    assert pad(sample, (2, 3), fill=fill)["image"][1, 2].tolist() == expected


@pytest.mark.parametrize("name", [*VARIABLES, "LD_PRELOAD", "GLIBC_TUNABLES"])
def test_an_allocator_that_is_chosen_already_stays(name):
    environment = {name: "libjemalloc.so"}
    assert not keep_pages(environment) and environment == {name: "libjemalloc.so"}


def test_kept_memory_is_switched_off_by_its_variable():
    environment = {SWITCH: "0"}
    assert not keep_pages(environment) and environment == {SWITCH: "0"}


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    environment: dict[str, str] = {}
    assert not keep_pages(environment) and not environment


def test_freed_memory_is_kept_and_said_to_later_processes(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            calls.append((parameter, value))
            return int((parameter, value) != (-3, 1 << 30))  # as versions of glibc before 2.35

    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.31"))
    monkeypatch.setattr("ctypes.CDLL", lambda _: Library())
    environment: dict[str, str] = {}
    assert keep_pages(environment) and environment == VARIABLES
    assert calls == [(-3, 1 << 30), (-3, 32 << 20), (-1, -1), (-2, 16 << 20)]
