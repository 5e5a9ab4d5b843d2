"""Damage done to files, by chance and by what they are: bytes, text, JSON, archives.

Every function takes the content of a file and a source of chance, and gives the content of a damaged one.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutate = Callable[[bytes, Random], bytes]

_NUMBERS = [
    "0",
    "-0",
    "-1",
    "1e999",
    "-1e999",
    "1e-999",
    "NaN",
    "Infinity",
    "-Infinity",
    "999999999999999999999999",
    "1.234,5",
    "1,234",
    "0x10",
    "1_000",
    "٣",
    "½",
    "2147483648",
    "-2147483649",
    "9223372036854775808",
    "18446744073709551616",
    "65536",
    "1e308",
    "-1e308",
    "3.5",
    "TRUE",
    "null",
]
_WORDS = (
    *("", " ", "\0", "\x1b[2J", "\u2028", "\ufeff", "é", "e\u0301", "\ud83d\ude00", "a" * 300, "A" * 70_000),
    *(
        "../../x",
        "/etc/passwd",
        "C:\\x\\y.nii",
        "\\\\server\\x",
        "~",
        "$HOME",
        "%s%n",
        "{0}",
        "'",
        '"',
        ",",
        ";",
    ),
    *(
        "\t",
        "\r",
        "\n",
        "\r\n",
        "#",
        "sep=;",
        "&a [*a,*a]",
        "!!python/object/apply:os.system ['x']",
        "<<: *a",
    ),
    *("[" * 100_000, "{" * 5_000, '{"a":' * 50_000, "(" * 2_000, "9" * 5_000, "- " * 3_000),
)
_BYTES = (b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\x80", b"\n", b"%", b"\x1f\x8b\x08", b"PK\3\4")
_ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "utf-7")
_FORMATS = ("<h", ">h", "<i", ">i", "<q", ">q", "<f", ">f", "<d")
_LONGEST = 1 << 20
_INTEGERS = (0, 1, -1, 2, 7, 127, 255, 32767, -32768)


def binary(content: bytes, chance: Random) -> bytes:
    """One to five bytes, slices or numbers, most of them near the start, where headers are."""
    return _several((_flip, _overwrite, _delete, _duplicate, _swap, _insert, _cut), content, chance)


def text(content: bytes, chance: Random) -> bytes:
    """Numbers, words, lines and the encoding of a text; at times its bytes."""
    steps = (_number, _number, _word, _word, _lines, _lines, _cell, _encoding, _flip, _delete, _duplicate)
    return _several(steps, content, chance)


def of_json(content: bytes, chance: Random) -> bytes:
    """Keys and values of a JSON document; at times its text."""
    return _several((_node, _node, _node, _node, _number, _word, _encoding, _flip, _delete), content, chance)


def packed(mutate: Mutate) -> Mutate:
    """The same of what is packed with gzip; at times of the packed stream."""

    def mutated(content: bytes, chance: Random) -> bytes:
        if chance.random() < 0.1:
            return binary(content, chance)
        return gzip.compress(mutate(gzip.decompress(content), chance), 1)

    return mutated


def archive(content: bytes, chance: Random) -> bytes:
    """Names, content and kinds of the files of a .zip; at times its bytes."""
    if chance.random() < 0.3:
        return binary(content, chance)
    with zipfile.ZipFile(io.BytesIO(content)) as before:
        members = [(info, before.read(info)) for info in before.infolist()]
    info, inside = chance.choice(members)
    change = chance.randrange(5)
    if change == 0:
        info.filename = chance.choice(["../" * 9, "/tmp/", "C:\\", "a/../../", "\\\\x\\"]) + info.filename
    elif change == 1:
        info.external_attr = 0o120777 << 16  # a symbolic link, to what its content names
        inside = chance.choice([b"/etc/passwd", b"../../x", inside])
    elif change == 2:
        inside = (of_json if inside.startswith(b"{") else binary)(inside, chance)
    elif change == 3:
        members.append((zipfile.ZipInfo(chance.choice(_ALIENS)), chance.choice(_PICKLES)))
    else:
        members.append((zipfile.ZipInfo(info.filename), inside))
    after = io.BytesIO()
    with zipfile.ZipFile(after, "w", zipfile.ZIP_DEFLATED) as written:
        for item, data in members:
            written.writestr(item.filename if change == 4 else item, inside if item is info else data)
    return after.getvalue()


_PICKLES = (b"cos\nsystem\n(S'true'\ntR.", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.")
_ALIENS = (
    "../outside",
    "/tmp/outside",
    "data.pkl",
    "model/data.pkl",
    "x/weights.safetensors",
    "model.json",
    "a/",
)


def _several(steps: Sequence[Mutate], content: bytes, chance: Random) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        content = chance.choice(steps)(content, chance)[:_LONGEST]
    return content


def _place(content: bytes, chance: Random) -> int:
    """Anywhere, as often in the first 400 bytes."""
    return chance.randrange(min(len(content), chance.choice((400, len(content)))) or 1) if content else 0


def _slice(content: bytes, chance: Random) -> tuple[int, int]:
    start = _place(content, chance)
    return start, start + chance.choice((1, 2, 4, 8, 32, 200, 5_000))


def _flip(content: bytes, chance: Random) -> bytes:
    place = _place(content, chance)
    return (
        content[:place]
        + bytes(byte ^ 1 << chance.randrange(8) for byte in content[place : place + 1])
        + (content[place + 1 :])
    )


def _overwrite(content: bytes, chance: Random) -> bytes:
    """A number of the kinds that headers are made of."""
    place, form = _place(content, chance), chance.choice(_FORMATS)
    if form[1] in "fd":
        number = struct.pack(form, chance.choice((0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"))))
    else:
        bits = 8 * struct.calcsize(form) - 1
        number = struct.pack(form, chance.choice((*_INTEGERS, (1 << bits) - 1, -(1 << bits))))
    return content[:place] + number + content[place + len(number) :]


def _delete(content: bytes, chance: Random) -> bytes:
    start, end = _slice(content, chance)
    return content[:start] + content[end:]


def _duplicate(content: bytes, chance: Random) -> bytes:
    start, end = _slice(content, chance)
    return content[:end] + content[start:end] * chance.choice((1, 1, 3, 50)) + content[end:]


def _swap(content: bytes, chance: Random) -> bytes:
    (start, end), other = _slice(content, chance), _place(content, chance)
    return content[:start] + content[other : other + end - start] + content[end:]


def _insert(content: bytes, chance: Random) -> bytes:
    place = _place(content, chance)
    return content[:place] + chance.choice(_BYTES) * chance.choice((1, 1, 7, 1_000)) + content[place:]


def _cut(content: bytes, chance: Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _replaced(pattern: bytes, new: bytes, content: bytes, chance: Random) -> bytes:
    found = list(re.finditer(pattern, content))
    if not found:
        return content + new
    start, end = chance.choice(found).span()
    return content[:start] + new + content[end:]


def _number(content: bytes, chance: Random) -> bytes:
    return _replaced(rb"-?\d+(\.\d+)?", chance.choice(_NUMBERS).encode(), content, chance)


def _word(content: bytes, chance: Random) -> bytes:
    new = chance.choice(_WORDS).encode("utf-8", "surrogatepass")
    return _replaced(rb"\w+" if chance.random() < 0.7 else rb"\W", new, content, chance)


def _cell(content: bytes, chance: Random) -> bytes:
    new = chance.choice((b",", b";", b"\t", b'"', b"", b",,,,", b'","', b'""', b" ", b"\n\n", b":"))
    return _replaced(rb"[,;\t:]", new, content, chance)


def _lines(content: bytes, chance: Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    row, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    change = chance.randrange(5)
    if change == 0:
        lines[row : row + 1] = []
    elif change == 1:
        lines[row:row] = lines[other : other + 1] * chance.choice((1, 2, 100))
    elif change == 2:
        lines[row], lines[other] = lines[other], lines[row]
    elif change == 3:
        lines[row] = chance.choice((b" ", b"    ", b"\t")) + lines[row]
    else:
        return content.replace(b"\n", chance.choice((b"\r", b"\r\n", b"", b"\n\n")))
    return b"".join(lines)


def _encoding(content: bytes, chance: Random) -> bytes:
    return content.decode("utf-8", "replace").encode(chance.choice(_ENCODINGS), "replace")


def _node(content: bytes, chance: Random) -> bytes:
    """One place of a JSON document: its value changed, its key renamed, dropped or doubled."""
    try:
        document = json.loads(content)
        _change(chance.choice([holder for holder in _containers(document) if holder]), chance)
        return json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, IndexError, RecursionError):  # damaged already, or nothing in it
        return content


def _change(holder: Any, chance: Random) -> None:
    key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    change = chance.randrange(6)
    if change == 0:
        del holder[key]
    elif change == 1 and isinstance(holder, dict):
        holder[chance.choice((key.upper(), key + " ", "", "__class__", "é", "a" * 300))] = holder.pop(key)
    elif change == 1:
        holder.append(holder[key])
    else:
        holder[key] = _value(holder[key], chance)


def _containers(node: Any) -> list[Any]:
    if not isinstance(node, dict | list):
        return []
    inside = node.values() if isinstance(node, dict) else node
    return [node, *(found for item in inside for found in _containers(item))]


def _value(before: Any, chance: Random) -> Any:
    """Another value in place of one: of another kind, odd, huge, or nested deep."""
    nested: Any = before
    for _ in range(chance.choice((1, 2, 60, 900))):
        nested = [nested] if chance.random() < 0.5 else {"a": nested}
    odd = (None, True, False, 0, -1, 3, 0.5, 1e308, -1e308, float("nan"), float("inf"), 10**30, 10**400)
    return chance.choice(
        (nested, chance.choice(odd), chance.choice(odd), chance.choice(_WORDS[:30]), [], {}, str(before))
    )
