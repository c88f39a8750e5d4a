"""Bytes of a text table to rows of fields: encodings, separators, quotation marks and line ends of every kind.

A quotation mark belongs to the table where it begins a field and another one, not doubled, ends it; every other one
belongs to the caption. So one stray mark costs its own row its unpaired mark and no other row anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import AnyStr, NamedTuple

Row = tuple[int, list[str]]  # its line in the file, from 1 on, and its fields
Fault = tuple[int, str]  # the row concerned, or 0, and "kind: details"

SEPARATORS = "\t|,;"
_LINE_END = re.compile(r"\r\n|\r|\n")
_UNDECODED = re.compile("[\udc80-\udcff]")
_UTF8_AS_CP1252 = re.compile("[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u2122]")
_BOMS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_TEXT_PER_ZERO = 100  # bytes: a text has hardly a zero byte, a binary file many
_SAMPLE = 200_000  # characters, to find the separator
_LONGEST_CELL = 32_767  # characters, as in Excel: an unpaired mark must not gather a file


class Parsed(NamedTuple):
    """A text table: its rows, what separates their fields, and what is wrong with some."""

    rows: list[Row]
    separator: str  # "" where it is no table
    faults: list[Fault]


def parse(data: bytes) -> Parsed | None:
    """Read a text table; None for a binary file."""
    faults: list[Fault] = []
    text = decode(data, faults)
    if text is None:
        return None
    separator = _separator(text[:_SAMPLE])
    rows = list(rows_of(text, separator, faults)) if separator else []
    return Parsed(rows, separator, sorted(set(faults)))


def decode(data: bytes, faults: list[Fault]) -> str | None:
    """A file's text, by its byte order mark or else byte by byte, and what is wrong with it; None for a binary one."""
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), None) or _utf16_without_bom(data)
    if encoding:
        text = data.decode(encoding, errors="replace")
        faults += [
            (row, "undecodable characters: they are read as \ufffd")
            for row in _lines_with("\ufffd", _LINE_END.split(text))
        ]
        return text
    if b"\0" in data:
        if data.count(0) * _TEXT_PER_ZERO > len(data):
            return None
        faults += [
            (row, "zero bytes: they are read as spaces") for row in _lines_with(b"\0", re.split(rb"\r\n?|\n", data))
        ]
        data = data.replace(b"\0", b" ")
    # Bytes that are no UTF-8 become lone surrogates, then what Excel on Windows would have meant by them.
    text = data.decode("utf-8-sig", errors="surrogateescape")
    if _UNDECODED.search(text):
        for row, line in enumerate(_LINE_END.split(text), 1):
            if match := _UNDECODED.search(line):
                byte = f"0x{ord(match.group()) - 0xDC00:02x}"
                faults.append((row, f"not UTF-8: byte {byte} is read as Windows-1252; save the file as UTF-8"))
        text = _UNDECODED.sub(lambda m: bytes([ord(m.group()) - 0xDC00]).decode("cp1252", errors="replace"), text)
    return _repair(text, faults) if _UTF8_AS_CP1252.search(text) else text


def _utf16_without_bom(data: bytes) -> str | None:
    """Text of Western letters in UTF-16 has a zero byte in nearly every character, always on the same side."""
    if b"\0" not in data[:4000] or len(data) < 4:
        return None
    even, odd = data[:4000:2].count(0), data[1:4000:2].count(0)
    if min(even, odd) * 20 > max(even, odd) or max(even, odd) * 2 < len(data[:4000:2]):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _repair(text: str, faults: list[Fault]) -> str:
    """Lines that were UTF-8, read as Windows-1252 and saved again (`cafÃ©`), as they once were."""
    parts = re.split(f"({_LINE_END.pattern})", text)  # lines and their ends in turn
    for i in range(0, len(parts), 2):
        if _UTF8_AS_CP1252.search(parts[i]):
            try:
                parts[i] = parts[i].encode("cp1252").decode("utf-8")
            except UnicodeError:
                continue
            faults.append((i // 2 + 1, "encoded twice: UTF-8 read as Windows-1252; read as it was before"))
    return "".join(parts)


def _lines_with(mark: AnyStr, lines: Iterable[AnyStr]) -> Iterator[int]:
    return (row for row, line in enumerate(lines, 1) if mark in line)


def _separator(text: str) -> str:
    """The one that most rows have first: IDs hold none, captions may hold all of them."""
    shares: dict[str, float] = {}
    for separator in SEPARATORS:
        rows = [fields for _, fields in rows_of(text, separator, None) if any(map(str.strip, fields))]
        firsts = [fields[0] for fields in rows if len(fields) > 1]
        shares[separator] = sum(not set(SEPARATORS) & set(first) for first in firsts) / max(1, len(rows))
    best = max(shares, key=lambda separator: shares[separator])
    return best if shares[best] else ""


def rows_of(text: str, separator: str, faults: list[Fault] | None) -> Iterator[Row]:
    """The rows of a text; None for `faults` takes them as they stand."""
    for row, fields, is_paired in _fields(text, separator):
        if faults is not None and len(fields) == 1:
            fields = _other_separator(row, fields[0], separator, faults)
        if faults is not None and not is_paired:
            faults.append((row, "unpaired quotation marks: the row is read with its marks as they stand"))
        yield row, fields


def _fields(text: str, separator: str) -> Iterator[tuple[int, list[str], bool]]:
    """Each row's line and fields, and whether its quotation marks are in pairs."""
    if '"' not in text:
        yield from ((row, line.split(separator), True) for row, line in enumerate(_LINE_END.split(text), 1))
        return
    # Spaces before a mark are the table's where commas separate, and the caption's elsewhere, as all of its marks are.
    commas = separator in ",;"
    end = rf"(?=[ ]*(?:{re.escape(separator)}|\r|\n|\Z))"
    quoted = re.compile(rf'{"[ ]*" if commas else ""}"([^"]*(?:""[^"]*)*)"{end}[ ]*')
    plain = re.compile(rf"[^{re.escape(separator)}\r\n]*")
    at, row, lines, fields, is_paired = 0, 1, 1, list[str](), True
    while at <= len(text):
        match = quoted.match(text, at)
        if match and _is_one_cell(match[1], fields, separator):
            fields.append(match[1].replace('""', '"'))
            lines += len(_LINE_END.findall(match[1]))
        else:
            match = plain.match(text, at)
            assert match  # it may be empty
            fields.append(match[0])
            is_paired &= not (commas and match[0].lstrip(" ").startswith('"'))
        at = match.end() + 1
        if text[at - 1 : at] != separator:
            yield row, fields, is_paired
            at += text[at - 1 : at + 1] == "\r\n"
            row, lines, fields, is_paired = row + lines, 1, [], True


def _is_one_cell(content: str, fields: list[str], separator: str) -> bool:
    """Whether what two marks enclose is one cell, and not rows between two stray marks."""
    lines = _LINE_END.split(content)
    if len(lines) == 1:
        return True
    # Lines that begin with an ID formed like this row's own, and a separator, are rows.
    form = _form(fields[0]) if fields else ""
    firsts = (_form(line.partition(separator)[0]) for line in lines[1:] if separator in line)
    return len(content) <= _LONGEST_CELL and not ("9" in form and form in firsts)


def _form(image_id: str) -> str:
    return re.sub(r"\d+", "9", image_id.strip())


def _other_separator(row: int, line: str, separator: str, faults: list[Fault]) -> list[str]:
    """A row without the table's separator, parted at its own, if what comes first can be an ID."""
    match = re.match(rf"\s*([^\s{SEPARATORS}]+)\s*([{SEPARATORS}])(.*)", line, re.DOTALL)
    if not match:
        return [line]
    faults.append((row, f"other separator: {match[2]!r}, where the table has {separator!r}; the row is parted there"))
    return [match[1], match[3]]
