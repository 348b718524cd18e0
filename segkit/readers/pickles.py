"""Pickles without their power: nothing that a file names is looked up; fixed stand-ins answer for a few names.

A pickle is a program: it names functions, calls them (REDUCE, INST, OBJ, NEWOBJ), and sets attributes of what it named
or built (BUILD). Here a name gives a stand-in of this package or an error, and stand-ins cannot be changed.
"""

import io
import pickle
from collections.abc import Callable, Sized
from functools import partial
from mmap import mmap
from typing import Any, NoReturn

from segkit.files import DataError, shortened


class Frozen(type):
    """Metaclass of classes whose attributes cannot be set or deleted, so that no file changes them."""

    def __setattr__(cls, name: str, value: object) -> NoReturn:
        raise pickle.UnpicklingError(f"it sets the attribute {shortened(name, 50)} of a class")

    def __delattr__(cls, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it deletes the attribute {shortened(name, 50)} of a class")


class Call(metaclass=Frozen):
    """Stands for a function while a file is unpickled: it can be called and nothing else.

    Args:
        function: takes the arguments that the file gives, and checks them.
    """

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]):
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise pickle.UnpicklingError("it sets the attribute of a function")

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("it changes a function")


class Mapping(dict, metaclass=Frozen):
    """Stands for the dicts of collections; takes items, and no attributes."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Does nothing: what torch keeps in attributes of a state dict is not read."""


class Unknown(metaclass=Frozen):
    """Placeholder for an object of a class that is not loaded: accepts all that a pickle does to it, does nothing."""

    __slots__ = ()

    def __new__(cls, *args: object, **kwargs: object) -> "Unknown":
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object):
        pass

    def __call__(self, *args: object, **kwargs: object) -> "Unknown":
        return self

    def __setitem__(self, key: object, value: object) -> None:
        pass

    @staticmethod
    def __setstate__(*state: object) -> None:
        pass

    @staticmethod
    def append(*value: object) -> None:
        """Does nothing."""

    @staticmethod
    def extend(*values: object) -> None:
        """Does nothing."""

    @staticmethod
    def add(*value: object) -> None:
        """Does nothing."""


def no_arguments(*_: Any) -> Mapping:
    """Makes the empty dict that the items of a defaultdict are put into."""
    return Mapping()


def to_bytes(text: str, encoding: str) -> bytes:
    """Makes bytes as pickles of protocol 2 and below write them: text, and the name of an encoding."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it holds bytes written as {shortened(repr(encoding), 50)}")
    return text.encode("latin1")


class InertUnpickler(pickle.Unpickler):
    """An unpickler that knows stand-ins alone.

    Args:
        content: the pickle.
        stand_ins: by module and name: classes whose metaclass is Frozen, or functions, which the file sees as a Call.
        unknown: what stands for every other name; None makes them an error.

    Attributes:
        refused: the first name that nothing stands for, "" where there was none.
    """

    def __init__(self, content: bytes, stand_ins: dict[tuple[str, str], Any], unknown: type | None = None):
        end_of_pickle(content)
        super().__init__(io.BytesIO(content), encoding="latin-1")
        self._stand_ins, self._unknown = stand_ins, unknown
        self._budget = 4 * len(content) + (1 << 20)
        self.refused = ""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a name in the file.

        Raises:
            pickle.UnpicklingError: nothing does.
        """
        known = self._stand_ins.get((module, name), self._unknown)
        if known is None:
            self.refused = self.refused or shortened(f"{module}.{name}", 80)
            raise pickle.UnpicklingError(f"it names {shortened(repr(f'{module}.{name}'), 80)}, which is no plain value")
        return known if isinstance(known, Frozen) else Call(partial(self._made, known))

    def _made(self, function: Callable[..., Any], *args: Any) -> Any:
        """The function's result; what a file makes by calls is bounded by its size, because it can repeat arguments."""
        result = function(*args)
        if isinstance(result, Sized):
            self._budget -= len(result) if isinstance(result, bytes | str) else 64 * len(result)
            if self._budget < 0:
                raise pickle.UnpicklingError("it makes far more values than it holds")
        return result

    def persistent_load(self, pid: Any) -> Any:
        """Refuses objects that lie outside of the pickle; readers of formats that have them override it."""
        raise pickle.UnpicklingError("it refers to an object outside of the pickle")


FIXED = {
    **dict.fromkeys(b"().012NQRabdelost}]u", 0),
    **dict.fromkeys(b"\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98", 0),
    **dict.fromkeys(b"CKhqU\x80\x82\x8a\x8c", 1),
    **dict.fromkeys(b"M\x83", 2),
    **dict.fromkeys(b"JjrTBX\x84\x8b", 4),
    **dict.fromkeys(b"G\x8d\x8e\x95\x96", 8),
}
"""Bytes that follow an opcode; for those in SIZED they are the size of further bytes."""

SIZED = frozenset(b"CTUBX\x8a\x8b\x8c\x8d\x8e\x96")
LINES = {**dict.fromkeys(b"FILPSVgp", 1), **dict.fromkeys(b"ic", 2)}
"""Opcodes that are followed by lines of text, and how many."""


TUPLES, FILLING = frozenset(b"t\x85\x86\x87"), frozenset(b"aseu")
MOST_TUPLES = 50_000
"""Tuples without a list or dict filled between them: Python's hash of tuples 150,000 deep ends the process."""


def end_of_pickle(content: bytes | mmap, start: int = 0) -> int:
    """Walks over the opcodes of a pickle without running them, and checks the sizes that they ask for.

    C's unpickler reserves memory for whatever place of its memo, or size of a text, a file names.

    Args:
        content: bytes of a file.
        start: where the pickle begins.

    Returns:
        Where it ends.

    Raises:
        pickle.UnpicklingError: it breaks off, or asks for more than the file has.
    """
    position, size, tuples = start, len(content), 0
    fixed, lines = FIXED, LINES
    while position < size:
        code = content[position]
        position += 1
        if code == 0x2E:  # STOP
            return position
        if code in fixed:
            first = position
            position += fixed[code]
            if code in SIZED:
                length = int.from_bytes(content[first:position], "little")
                position += length
                if position > size:
                    break
            elif code in TUPLES:
                tuples += 1
                if tuples > MOST_TUPLES:
                    raise pickle.UnpicklingError("it holds tuples in tuples without end")
            elif code in FILLING:
                tuples = 0
            elif code == 0x72 and int.from_bytes(content[first:position], "little") > size:  # LONG_BINPUT
                raise pickle.UnpicklingError("it asks for a memo larger than itself")
        elif code in lines:
            for _ in range(lines[code]):
                first, position = position, content.find(b"\n", position) + 1
                if position == 0:
                    raise pickle.UnpicklingError("it breaks off")
                if code == 0x70 and not (position - first < 12 and int(content[first:position]) <= size):  # PUT
                    raise pickle.UnpicklingError("it asks for a memo larger than itself")
        else:
            raise pickle.UnpicklingError(f"it holds the unknown opcode {code}")
    raise pickle.UnpicklingError("it breaks off")


def unpickle(content: bytes, stand_ins: dict[tuple[str, str], Any]) -> Any:
    """Reads a pickle.

    Args:
        content: the pickle.
        stand_ins: see InertUnpickler.

    Raises:
        DataError: it is damaged, or names what nothing stands for.
    """
    try:
        return InertUnpickler(content, stand_ins).load()
    except Exception as error:  # a damaged pickle raises nearly any exception
        raise DataError(shortened(error, 300) or type(error).__name__) from error
