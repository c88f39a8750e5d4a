"""Data sets with one table that was harmed on purpose, for the tests and `benchmarks/fuzz_tables.py`.

Harm to one row must leave its neighbors as they were; harm to the bytes of a file may have it refused. Neither may
crash, hang, or fill the memory.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import openpyxl

from medcap_tf.data.cells import clean_text
from medcap_tf.data.doctor import examine, render
from medcap_tf.data.records import read_dataset
from medcap_tf.errors import InputError
from medcap_tf.text import Normalizer

FORMATS = {"csv": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "xlsx": ""}
_ROWS = 10
_WORDS = (
    "chest film of the right lung, with a nodule; 3 mm | halo sign: effusion's edge (lateral) knee and pelvis".split()
)
_HOSTILE = [
    *(
        '"',
        '""',
        "'",
        "\\",
        ",",
        ";",
        "|",
        "\t",
        "\n",
        "\r",
        "\r\n",
        "\x85",
        "\u2028",
        "\x0b",
        "\x1a",
        "\ufeff",
        "\u200b",
    ),
    *(
        "_x000D_",
        "_xD83D_",
        "&nbsp;",
        "&#0;",
        "&#99999999;",
        "&lt;br&gt;",
        "<br>",
        "\\n",
        "\\ud83d",
        "[",
        "['",
        "{",
        "é",
    ),
    *("ﬁ", "—", "…", "\U0001f642", "e\u0301", "../", "C:\\", "=1+1", "#N/A", " ", "a" * 40_000, '"' * 999, "[" * 5_000),
]
_HOSTILE_BYTES = [text.encode() for text in _HOSTILE] + [b"\xff", b"\xe9", b"\xc3", b"\xed\xa0\x80", b"\0"]
_HOSTILE_CELLS = [
    *("=A1&B1", True, 1e300, -0.0, 10**20, datetime.datetime(1900, 1, 1), datetime.time(1), None, "", "#REF!"),
    *(text for text in _HOSTILE if not set(text) & set("\x0b\x1a")),
]


class Mutated(NamedTuple):
    """A harmed table, and the captions or codes that must be read all the same; None where it may be refused."""

    name: str
    data: bytes
    kept: dict[str, str] | dict[str, tuple[str, ...]] | None


def mutate(rng: random.Random) -> Mutated:
    """Draw a table and harm one of its rows, or its bytes anywhere."""
    kind = rng.choice(list(FORMATS))
    rows = [(f"x{1000 + i}", _caption(rng, kind), f"C000000{i % 3}") for i in range(_ROWS)]
    of_codes = rng.random() < 0.25
    victim = rng.randrange(_ROWS) if rng.random() < 0.6 else -1
    last = 3 if not of_codes and kind != "pipe" and rng.random() < 0.3 else 2
    titles = [rng.choice(["ID", "image_id", "File Name"]), rng.choice(["Caption", "caption"]), "CUIs"]
    written = [row[:last] for row in rows]
    if of_codes:
        titles, written = [titles[0], "CUIs"], [(row[0], f"{row[2]};C1234567") for row in rows]
    data = (_workbook if kind == "xlsx" else _text)(rng, kind, titles[:last], written, victim)
    suffix = rng.choice([".xlsx", ".csv"] if kind == "xlsx" else [".csv", ".txt", ".tsv"])
    name = ("concepts" if of_codes else "captions") + suffix
    if victim < 0:
        harm = _harm_parts if kind == "xlsx" and rng.random() < 0.7 else _harm_bytes
        return Mutated(name, harm(rng, data), None)
    neighbors = [row for i, row in enumerate(rows) if i != victim]
    if of_codes:
        return Mutated(name, data, {image_id: (code, "C1234567") for image_id, _, code in neighbors})
    return Mutated(name, data, {image_id: clean_text(caption) for image_id, caption, _ in neighbors})


def check(case: Mutated, folder: Path) -> str:
    """Examine a data set with the harmed table in an empty folder; returns `read` or `refused`.

    Raises:
        AssertionError: a neighbor was harmed.
        Exception: the doctor crashed.
    """
    table, captions = folder / "train" / case.name, folder / "train" / "captions.csv"
    table.parent.mkdir(exist_ok=True)
    of_codes = table.stem == "concepts"
    if of_codes:
        captions.write_text("".join(f"x{1000 + i},film {i}\n" for i in range(_ROWS)))
    table.write_bytes(case.data)
    try:
        dataset = read_dataset(folder)
        report = examine(dataset, Normalizer(), check_images=False)
        json.dumps(report, ensure_ascii=False).encode()
        render(report).encode()
    except InputError as error:
        str(error).encode()
        assert case.kept is None, f"refused: {error}"
        return "refused"
    finally:
        table.unlink()
        captions.unlink(missing_ok=True)
    values = {r.image_id: r.concepts if of_codes else r.caption for r in dataset.splits["train"]}
    harmed = {i: values.get(i) for i, value in (case.kept or {}).items() if values.get(i) != value}
    assert not harmed, f"neighbors harmed: {harmed}"
    return "read"


def _caption(rng: random.Random, kind: str) -> str:
    text = " ".join(rng.choices(_WORDS, k=rng.randint(2, 12))).capitalize()
    if kind in ("csv", "semicolon", "xlsx") and rng.random() < 0.3:
        text = text.replace(" ", "\n", 1) + ' "sign"'
    return text


def _text(rng: random.Random, kind: str, titles: list[str], rows: list[tuple[str, ...]], victim: int) -> bytes:
    """With the header in three of four tables; quoted where the format has it."""
    end = rng.choice(["\n", "\r\n"])

    def line(fields: tuple[str, ...] | list[str]) -> bytes:
        if kind in ("tab", "pipe"):
            return (FORMATS[kind].join(fields) + end).encode()
        text = io.StringIO()
        csv.writer(text, delimiter=FORMATS[kind], lineterminator=end, quoting=quoting).writerow(fields)
        return text.getvalue().encode()

    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    lines = [_harm_row(rng, line(row)) if i == victim else line(row) for i, row in enumerate(rows)]
    has_header = rng.random() < 0.75 or len(rows[0]) > 2
    return b"".join([line(titles), *lines] if has_header else lines)


def _harm_row(rng: random.Random, line: bytes) -> bytes:
    """Insert, cut and double within the row; its line end stays."""
    body = line.rstrip(b"\r\n")
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(body))
        end = min(len(body), at + rng.randint(0, 6))
        body = body[:at] + rng.choice([rng.choice(_HOSTILE_BYTES), b"", body[at:end] * 2]) + body[end:]
    return body + line[len(line.rstrip(b"\r\n")) :]


def _workbook(rng: random.Random, kind: str, titles: list[str], rows: list[tuple[str, ...]], victim: int) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    if rng.random() < 0.8 or len(rows[0]) > 2:
        sheet.append(titles)
    for i, row in enumerate(rows):
        cells: list[object] = list(row)
        if i == victim:
            cells[rng.randrange(len(cells))] = rng.choice(_HOSTILE_CELLS)
        sheet.append([cell[:32_767] if isinstance(cell, str) else cell for cell in cells])
    if rng.random() < 0.2:
        book.create_sheet("Notes", rng.randint(0, 1)).append(["notes"])
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def _harm_bytes(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.randint(1, 8)):
        at, length = rng.randint(0, len(data)), rng.choice([1, 1, 2, 10, 200])
        part = rng.choice([rng.choice(_HOSTILE_BYTES), rng.randbytes(length), b"", data[at : at + length] * 2])
        data = data[:at] + part + data[at + length :]
    return data if rng.random() < 0.8 else data[: rng.randint(0, len(data))]


def _harm_parts(rng: random.Random, data: bytes) -> bytes:
    """Harm the XML inside a workbook, whose archive stays whole."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    harms: list[Callable[[bytes], bytes]] = [
        lambda part: _harm_bytes(rng, part),
        lambda part: part.replace(b'r="A3"', rng.choice([b'r="ZZZ3"', b'r="A1048576"', b'r="A99999999"', b'r="?"'])),
        lambda part: part.replace(
            b'row r="3"', rng.choice([b'row r="1048576"', b'row r="99999999999"', b'row r="-1"'])
        ),
        lambda part: part.replace(b't="inlineStr"', b't="s"').replace(
            b't="s"', rng.choice([b't="e"', b't="d"', b't="?"'])
        ),
        lambda part: part.replace(b"<v>1</v>", rng.choice([b"<v>99999</v>", b"<v>-1</v>", b"<v/>", b"<f>A1</f>"])),
    ]
    chosen = rng.choice([name for name in parts if name.endswith((".xml", ".rels"))] + ["xl/worksheets/sheet1.xml"] * 5)
    parts[chosen] = rng.choice(harms)(parts[chosen])
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return target.getvalue()
