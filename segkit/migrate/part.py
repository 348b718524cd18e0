"""A dict of a config of another toolbox, whose keys are taken one by one: what nobody takes is refused by name."""

from collections.abc import Mapping
from typing import Any

from segkit.files import brief
from segkit.registry import ConfigError, did_you_mean

SCOPES = ("mmseg", "mmpretrain", "mmcls", "mmdet")
"""What may stand before a class's name: the packages of the same authors."""


class _Missing:
    """Stands for no default."""


MISSING = _Missing()


def plain(value: Any) -> Any:
    """The value with tuples in place of lists, so that both compare as equal."""
    return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value


class Part:
    """A dict of another toolbox's config.

    Args:
        values: the dict.
        path: its dotted path, for messages.
        source: the file, for messages.

    Attributes:
        values: all of them.

    Raises:
        ConfigError: `values` is no dict.
    """

    def __init__(self, values: Any, path: str, source: str):
        if not isinstance(values, Mapping):
            raise ConfigError(f"{source}: {path} = {brief(values)}: must be a dict")
        self.path, self.source = path, source
        self.values = dict(values)
        self._left = dict(values)

    def at(self, key: str) -> str:
        """The dotted path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def refusal(self, key: str, value: Any, why: str) -> ConfigError:
        """The error for a value that segkit cannot express."""
        return ConfigError(f"{self.source}: {self.at(key)} = {brief(value)}: {why}")

    def put(self, key: str, value: Any) -> None:
        """Adds a value, which stood elsewhere."""
        self.values[key] = self._left[key] = value

    def has(self, key: str) -> bool:
        """Whether the key is there, not yet taken, and not None."""
        return self._left.get(key) is not None

    def take(self, key: str, default: Any = MISSING) -> Any:
        """Takes a value.

        Raises:
            ConfigError: it is missing and has no default.
        """
        if key in self._left:
            return plain(self._left.pop(key))
        if isinstance(default, _Missing):
            raise ConfigError(f"{self.source}: {self.at(key)}: is missing; set it")
        return default

    def same(self, key: str, *allowed: Any, stated: bool = False) -> None:
        """Takes a value that must be one of those that segkit's part has fixed; a missing one is, unless `stated`."""
        value = self.take(key, MISSING if stated else allowed[0])
        if not any(value == plain(choice) for choice in allowed):
            choices = " or ".join(repr(choice) for choice in allowed)
            raise self.refusal(key, value, f"segkit has {choices} alone; set that, or build this part by hand")

    def skip(self, *keys: str) -> None:
        """Passes over keys whose values segkit derives, or that change no number."""
        for key in keys:
            self._left.pop(key, None)

    def type(self) -> str:
        """Takes the class's name, without the scope before it ("mmseg.FCNHead")."""
        name = self.take("type")
        if not isinstance(name, str):
            raise self.refusal("type", name, "must be a name")
        return name.rpartition(".")[2] if name.rpartition(".")[0] in SCOPES else name

    def part(self, key: str, default: Any = MISSING) -> "Part":
        """Takes a dict."""
        value = self._left.pop(key, default)
        if isinstance(value, _Missing) or value is None:
            raise ConfigError(f"{self.source}: {self.at(key)}: is missing; set it")
        return Part(value, self.at(key), self.source)

    def parts(self, key: str) -> "list[Part]":
        """Takes a dict or a list of dicts; [] where there is none."""
        value = self._left.pop(key, None)
        if value is None:
            return []
        if isinstance(value, Mapping):
            return [Part(value, self.at(key), self.source)]
        if not isinstance(value, list | tuple):
            raise self.refusal(key, value, "must be a dict or a list of dicts")
        return [Part(inner, f"{self.at(key)}[{index}]", self.source) for index, inner in enumerate(value)]

    def number(self, key: str, default: Any = MISSING) -> Any:
        """Takes a number."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refusal(key, value, "must be a number")
        return value

    def numbers(self, key: str, default: Any = MISSING) -> tuple[Any, ...]:
        """Takes a list of numbers that is not empty."""
        value = self.take(key, default)
        is_list = isinstance(value, tuple) and len(value) > 0
        if not is_list or not all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
            raise self.refusal(key, value, "must be a list of numbers")
        return value

    def pair(self, key: str, default: Any = MISSING) -> tuple[int, int]:
        """Takes two whole numbers; one number stands for both."""
        value = self.take(key, default)
        value = (value, value) if isinstance(value, int) else value
        if not isinstance(value, tuple) or len(value) != 2 or not all(isinstance(side, int) for side in value):
            raise self.refusal(key, value, "must be two whole numbers")
        return value[0], value[1]

    def done(self, known: str = "") -> None:
        """Ends the reading.

        Args:
            known: what has these keys, for the message.

        Raises:
            ConfigError: keys are left that nobody took.
        """
        for key, value in self._left.items():
            raise self.refusal(key, value, f"segkit has nothing for this key{known}; remove it, or set it by hand")


def look_up(table: Mapping[str, Any], name: str, part: Part, noun: str, remedy: str = "") -> Any:
    """Returns the entry of a table.

    Args:
        table: entries by name.
        name: of the one.
        part: the dict that names it.
        noun: what the entries are, for the error.
        remedy: what else can be done, a clause for the error.

    Raises:
        ConfigError: there is none; the message names close ones.
    """
    if not isinstance(name, str) or name not in table:
        hint = did_you_mean(str(name), table) or f"; known: {', '.join(sorted(table))}"
        raise ConfigError(f"{part.source}: {part.at('type')} = '{name}': no {noun} that segkit migrates{hint}{remedy}")
    return table[name]
