"""Text tables (CSV) as people and table programs leave them.

Cells are separated by commas, semicolons or tabs; columns stand in any order, in capitals or not; blank rows
and empty cells behind the last column mean nothing.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from LandmarkDetectionLib.data.errors import InputError

SEPARATORS = (",", ";", "\t")
POINTS_AND_QUOTES = "write decimals with a point, and put texts that hold a comma in double quotes"
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE | re.ASCII)
_LINE_END = re.compile(r"\r\n|\r|\n")
# Blank rows, remarks, and the line 'sep=;' of Excel.
_BEFORE_THE_HEADER = re.compile(
    r"""(?:(?:[\ \t,;]*|"?\#[^\r\n]*|"?sep=.[,;\t]*"?)(?:\r\n|\r|\n))*""", re.VERBOSE
)
_GROUPS_OF_THREE = re.compile(r"[-+]?\d{1,3}(,\d{3})+")


@dataclass(frozen=True)
class TextTable:
    """A table as it stands in a file.

    Attributes:
        columns: the first line's cells, without spaces around them.
        rows: the number of each line and its cells by column, '' where one is missing.
        separator: what stands between cells.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    separator: str


def parse_table(text: str, path: Path, wanted: Sequence[str]) -> TextTable:
    """Read a table whose first line names its columns.

    Args:
        text: of the file.
        path: of the file, for the errors.
        wanted: columns that are found however their names are capitalised; the others keep their spelling.

    Raises:
        InputError: if the text is not a table, a wanted column stands twice, or a row has more cells than
            there are columns.
    """
    try:
        return _parse(text, path, wanted)
    except csv.Error as error:
        raise InputError(f"{path}: this is not a text table ({error}); save it as 'CSV UTF-8'.") from error


def has_decimal_commas(cells: Iterable[str], separator: str) -> bool:
    """Whether the commas in the numbers of a table can only stand before decimals, not between thousands."""
    texts = [cell.strip() for cell in cells]
    with_commas = [text for text in texts if "," in text]
    if any("." in text for text in texts):
        return False
    return separator == ";" or not all(map(_GROUPS_OF_THREE.fullmatch, with_commas))


def plain_number(text: str, *, commas: bool = False) -> float:
    """The finite number that a cell holds; NaN where it is none, or has anything between thousands.

    Args:
        text: of the cell.
        commas: whether commas stand before decimals.
    """
    plain = text.strip().replace("\N{MINUS SIGN}", "-")
    number = _NUMBER.fullmatch(plain.replace(",", ".") if commas else plain)
    value = float(number[0]) if number else math.nan
    return value if math.isfinite(value) else math.nan


def _parse(text: str, path: Path, wanted: Sequence[str]) -> TextTable:
    skipped = _BEFORE_THE_HEADER.match(text)
    start = skipped.end() if skipped else 0
    lines_before = len(_LINE_END.findall(text[:start]))
    headers = {separator: _header(text[start:], separator, wanted) for separator in SEPARATORS}
    separator = max(headers, key=lambda sign: len({*headers[sign]} & {*wanted}))
    columns = headers[separator]
    for column in wanted:
        if column and columns.count(column) > 1:  # cells of the header that are empty name nothing
            raise InputError(f"{path}: the column '{column}' stands twice; remove or rename one.")
    rows = []
    reader = csv.reader(io.StringIO(text[start:], newline=""), delimiter=separator, strict=True)
    next(reader, None)
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        line = lines_before + reader.line_num
        if len(cells) > len(columns):
            raise InputError(f"{path}, line {line}: more cells than columns; {POINTS_AND_QUOTES}.")
        rows.append((line, dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False))))
    return TextTable(tuple(columns), tuple(rows), separator)


def _header(table: str, separator: str, wanted: Sequence[str]) -> list[str]:
    spellings = {column.casefold(): column for column in wanted}
    cells = next(csv.reader(io.StringIO(table, newline=""), delimiter=separator), [])
    columns = [cell.strip() for cell in cells]
    return [spellings.get(column.casefold(), column) for column in columns]
