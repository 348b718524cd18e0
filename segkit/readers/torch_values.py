"""What stands for tensors and their storages while a file of torch is unpickled, and the tensors made of them."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from segkit.files import shortened
from segkit.readers.pickles import Frozen, Mapping, Unknown, no_arguments, to_bytes

STORAGES = {
    **{"DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16},
    **{"LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16, "CharStorage": torch.int8},
    **{"ByteStorage": torch.uint8, "BoolStorage": torch.bool, "BFloat16Storage": torch.bfloat16},
    **{"ComplexDoubleStorage": torch.complex128, "ComplexFloatStorage": torch.complex64},
    "UntypedStorage": torch.uint8,
}
DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}

MOST_VALUES = 2_000_000
"""Values of a file at most; what several places share counts for each."""

MOST_LEVELS = 100
REPEATED = 1 << 26
"""Values at most of a tensor that shows one value in several places, and so is larger than what is stored of it."""


class Storage(NamedTuple):
    """Where the values of tensors lie: key, type and number of values; offset and size of a part of them, or None."""

    key: str
    dtype: torch.dtype
    count: int  # type: ignore[assignment]  # a tuple has a method of this name, which nobody calls here
    view: tuple[int, int] | None


class _Tensor(metaclass=Frozen):
    """Stands for a tensor while its file is unpickled."""

    __slots__ = ("dtype", "needs_grad", "offset", "size", "storage", "stride")

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any, needs_grad: Any = False, dtype: Any = None):
        if not isinstance(storage, Storage) or not is_shape((offset, *size, *stride)) or len(size) != len(stride):
            raise ValueError("a tensor has no storage, or no shape")
        if len(size) > 64:
            raise ValueError("a tensor has more than 64 axes")
        self.storage, self.offset, self.size, self.stride = storage, offset, tuple(size), tuple(stride)
        self.needs_grad, self.dtype = needs_grad is True, dtype

    def __setstate__(self, state: object) -> None:
        raise ValueError("it changes a tensor")


class Dtype(metaclass=Frozen):
    """Stands for a dtype, or the class of a storage, which are arguments only."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype

    def __setstate__(self, state: object) -> None:
        raise ValueError("it changes a dtype")


def is_shape(values: tuple) -> bool:
    """Returns whether all values are whole numbers from 0 that fit 62 bits."""
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, needs_grad: Any = False, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, size, stride, needs_grad)


def _tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, needs_grad: Any, _hooks: Any, dtype: Any, *_: Any
) -> _Tensor:
    if not isinstance(dtype, Dtype):
        raise ValueError("a tensor has no dtype")
    return _Tensor(storage, offset, size, stride, needs_grad, dtype.dtype)


def _parameter(data: Any, needs_grad: Any = True, *_: Any) -> Any:
    if not isinstance(data, _Tensor | Unknown):
        raise ValueError("a parameter without values")
    return data


def _from_type(function: Any, _type: Any, args: tuple, *_: Any) -> Any:
    """A tensor with attributes of its own, which are not read."""
    return function(*args)


def _size(values: Any = ()) -> tuple[int, ...]:
    if not is_shape(tuple(values)):
        raise ValueError("a size of no whole numbers")
    return tuple(values)


def _ordered(pairs: Any = ()) -> Mapping:
    return Mapping(pairs)


def _set(values: Any = ()) -> set:
    return set(values)


def _text(*values: Any) -> str:
    return shortened(":".join(map(str, values)), 40)


STAND_INS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch", "Tensor"): Unknown,
    ("torch.nn.parameter", "Parameter"): Unknown,
    ("torch", "Size"): _size,
    ("torch", "device"): _text,
    ("collections", "OrderedDict"): _ordered,
    ("collections", "Counter"): _ordered,
    ("collections", "defaultdict"): no_arguments,
    **{(module, name): _set for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    ("_codecs", "encode"): to_bytes,
}
"""What files of tensors name by (module, name), and what stands for it here."""


def finished(values: Any, storages: dict[str, Tensor]) -> Any:
    """Makes the content of a file of what was unpickled.

    Args:
        values: dicts, lists, tuples, texts, numbers and stand-ins.
        storages: the numbers of each storage by its key, [n] of its dtype.

    Returns:
        A copy in plain containers, with tensors in place of their stand-ins.

    Raises:
        ValueError: a tensor does not fit its storage, or the values are too many or too deep.
    """
    done: dict[int, tuple[Any, int]] = {}

    def copy(value: Any, level: int) -> tuple[Any, int]:
        """The copy, and how many values it holds."""
        if isinstance(value, str | bytes | int | float | complex | None):
            return value, 1
        if level > MOST_LEVELS:
            raise ValueError(f"its values lie more than {MOST_LEVELS} levels deep")
        if id(value) in done:
            return done[id(value)]
        total = 1
        result: Any
        if isinstance(value, dict):
            result = {}
            for key, inner in dict.items(value):
                if isinstance(key, Unknown):
                    continue
                result[_key(key)], count = copy(inner, level + 1)
                total += count
        elif isinstance(value, list | tuple | set | frozenset) and not isinstance(value, Storage):
            items = []
            for inner in value:
                item, count = copy(inner, level + 1)
                items.append(item)
                total += count
                if total > MOST_VALUES:
                    break
            result = items if isinstance(value, list) else type(value)(items)
        elif isinstance(value, _Tensor):
            result = _built(value, storages)
        elif isinstance(value, Dtype):
            result = value.dtype
        elif isinstance(value, Unknown) or value is Unknown:
            result = Unknown()
        else:
            raise ValueError(f"it holds a {type(value).__name__} outside of a tensor")
        if total > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES:,} values")
        done[id(value)] = result, total
        return done[id(value)]

    return copy(values, 0)[0]


def _key(key: Any) -> Any:
    is_plain = isinstance(key, str | bytes | int | float | None)
    if not is_plain and not (isinstance(key, tuple) and all(isinstance(part, str | int | float) for part in key)):
        raise ValueError(f"a dict has a {type(key).__name__} as a key")
    return key


def _built(tensor: _Tensor, storages: dict[str, Tensor]) -> Tensor:
    storage = tensor.storage
    numbers = storages[storage.key]
    if storage.view is not None:
        numbers = numbers[storage.view[0] : storage.view[0] + storage.view[1]]
    if tensor.dtype is not None and tensor.dtype != numbers.dtype:
        numbers = numbers.view(tensor.dtype)
    count, last = 1, tensor.offset
    for length, step in zip(tensor.size, tensor.stride, strict=True):
        count *= length
        last += (length - 1) * step
    if count and last >= len(numbers):
        raise ValueError("a tensor reaches beyond its storage")
    if count > max(len(numbers), REPEATED):
        raise ValueError("a tensor is larger than its storage")
    built = numbers.as_strided(tensor.size, tensor.stride, tensor.offset if count else 0)
    return built.requires_grad_() if tensor.needs_grad and built.is_floating_point() else built
