"""CSV tables of run-length codes, as competitions hand out labels and take submissions: one layout for both ways."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segkit.data.files.run_lengths import KAGGLE, RunLengths
from segkit.files import MAX_BYTES, DataError, brief, limit, read_text
from segkit.registry import did_you_mean

MOST_LETTERS = 16 << 20
"""Letters of one cell at most."""


class Code(NamedTuple):
    """A run-length code of a table, and where it stands.

    text: "" for a mask without a pixel; line: number of the row's last line in the file, from 1.
    """

    text: str
    line: int


class Table(NamedTuple):
    """The content of a table.

    Attributes:
        path: the file.
        codes: for each image, in the file's order, the codes of each class; several where the mask is their union.
        lines: the first line of each image.
    """

    path: str
    codes: dict[str, dict[str, list[Code]]]
    lines: dict[str, int]


@dataclass(frozen=True)
class TableLayout:
    """How a table looks: one row for each mask.

    Args:
        columns: names of the two columns, of the image and of its code.
        run_lengths: how the codes are written.
        empty: what stands for a mask without a pixel; a blank cell always does, too.
        by_class: whether the first column also names the class, as IMAGE_CLASS; else there is one class.
        several: whether an image may have several rows of one class, whose masks are united.
    """

    columns: tuple[str, str]
    run_lengths: RunLengths = KAGGLE
    empty: str = ""
    by_class: bool = False
    several: bool = False

    def read(self, path: str | Path, classes: Sequence[str]) -> Table:
        """Reads a table. The codes themselves are read by `decode`.

        Args:
            path: the CSV file; columns beyond the two are passed over, and blanks around names too.
            classes: K names.

        Raises:
            DataError: the file is no such table, a class is unknown, an image lacks a class, or a row stands twice.
        """
        codes: dict[str, dict[str, list[Code]]] = {}
        lines: dict[str, int] = {}
        for line, (key, text) in read_rows(path, self.columns):
            image, name = self._split(key, classes, f"{path}, line {line}")
            code = Code("" if text == self.empty else text, line)
            of_class = codes.setdefault(image, {}).setdefault(name, [])
            lines.setdefault(image, line)
            self._check_double(of_class, code, key, path)
            of_class.append(code)
        for image, of_image in codes.items():
            missing = [name for name in classes if name not in of_image]
            if missing:
                raise DataError(
                    f"{path}, line {lines[image]}: {brief(image)} has no row for the class '{missing[0]}'; each "
                    f"image has a row for each of {', '.join(classes)}, with a blank code where there is none"
                )
        return Table(str(path), codes, lines)

    def _split(self, key: str, classes: Sequence[str], source: str) -> tuple[str, str]:
        """Image and class of a row."""
        if not self.by_class:
            image, name = key, classes[0]
        else:
            image, _, name = key.rpartition("_")
            if name not in classes:
                raise DataError(
                    f"{source}: {brief(key)} names the class {brief(name)}, which is unknown"
                    f"{did_you_mean(name, classes)}; the classes are {', '.join(classes)}"
                )
        if not image:
            raise DataError(f"{source}: {brief(key)} names no image; a row begins with {self.columns[0]}")
        return image, name

    def _check_double(self, others: Sequence[Code], code: Code, key: str, path: str | Path) -> None:
        for other in others:
            if self.several and code.text and other.text and code.text != other.text:
                continue
            what = "stands twice with one code" if code.text == other.text else "stands twice with different codes"
            remedy = "remove one of the rows"
            if self.several and code.text != other.text:
                what, remedy = "is empty in one row and not in the other", "remove the empty row"
            raise DataError(f"{path}, lines {other.line} and {code.line}: {brief(key)} {what}; {remedy}")

    def decode(self, codes: Sequence[Code], size: tuple[int, int], path: str | Path) -> np.ndarray:
        """Draws the union of codes.

        Args:
            codes: of one image and class.
            size: (H, W) of the image.
            path: the table, for the error.

        Returns:
            uint8 [H,W] of 0 and 1.

        Raises:
            DataError: a code does not fit, see RunLengths.decode; the message names file and line.
        """
        mask = np.zeros(size, np.uint8)
        for code in codes:
            if code.text:
                mask |= self.run_lengths.decode(code.text, size, f"{path}, line {code.line}")
        return mask

    def rows(self, image: str, masks: np.ndarray, classes: Sequence[str]) -> list[tuple[str, str]]:
        """Writes the masks of an image as rows.

        Args:
            image: as the first column names it.
            masks: [K,H,W], not 0 where the class is.
            classes: K names.

        Returns:
            K rows.
        """
        keys = [f"{image}_{name}" if self.by_class else image for name in classes]
        return [(key, self.run_lengths.encode(mask) or self.empty) for key, mask in zip(keys, masks, strict=True)]

    def text(self, rows: Iterable[tuple[str, str]]) -> str:
        """Returns a whole table: the head, then the rows."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(rows)
        return file.getvalue()


def read_rows(
    path: str | Path, columns: Sequence[str], *, optional: Sequence[str] = ()
) -> Iterator[tuple[int, list[str]]]:
    """Reads the rows of a CSV file one by one.

    Args:
        path: the file.
        columns: names of those that are wanted; others are passed over.
        optional: names of further ones, whose cells are "" where the file does not have them.

    Yields:
        The number of a row's last line in the file, from 1, and its cells of these columns, then of the optional ones,
        without blanks around them.

    Raises:
        DataError: it is no CSV file, a column is missing, or a row has too many or too few cells.
    """
    text = read_text(path, limit(MAX_BYTES))
    before = csv.field_size_limit(MOST_LETTERS)
    try:
        rows = csv.reader(_lines(text), strict=True)
        head = [name.strip() for name in next(rows, [])]
        missing = [name for name in columns if name not in head]
        if missing:
            raise DataError(
                f"{path}, line 1: there is no column '{missing[0]}'{did_you_mean(missing[0], head)}; the head must "
                f"be {','.join(columns)}"
            )
        places = [head.index(name) if name in head else None for name in (*columns, *optional)]
        for row in rows:
            if not row:
                continue
            if len(row) != len(head):
                raise DataError(
                    f"{path}, line {rows.line_num}: {len(row)} cells where the head has {len(head)}; correct the "
                    "row, or copy the file again"
                )
            yield rows.line_num, ["" if place is None else row[place].strip() for place in places]
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: no valid CSV ({error}); copy the file again") from error
    finally:
        csv.field_size_limit(before)


def _lines(text: str) -> Iterator[str]:
    """The lines of a text, one at a time: a copy of a table of some hundred MB would be as large again, or more."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end
