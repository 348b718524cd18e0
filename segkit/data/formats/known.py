"""The label formats that segkit reads and writes, and finding out which one a folder is in."""

from segkit.data.formats.base import LabelReader, LabelWriter

READERS: tuple[type[LabelReader], ...] = ()
"""In the order in which they are asked: the more particular format first."""

WRITERS: tuple[type[LabelWriter], ...] = ()
