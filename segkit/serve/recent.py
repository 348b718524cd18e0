"""A bounded store of what was used last."""

from collections import OrderedDict
from typing import TypeVar

Value = TypeVar("Value")


class Recent(OrderedDict[object, Value]):
    """The values that were used last.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int):
        super().__init__()
        self._most = most

    def use(self, key: object) -> Value | None:
        """Returns a value, which becomes the newest; None where there is none."""
        if key not in self:
            return None
        self.move_to_end(key)
        return self[key]

    def keep(self, key: object, value: Value) -> list[Value]:
        """Adds a value as the newest, and returns those that are kept no longer."""
        self[key] = value
        self.move_to_end(key)
        dropped = []
        while len(self) > self._most:
            dropped.append(self.popitem(last=False)[1])
        return dropped
