"""Which data a run was begun with: kept in its folder, and compared before anything is written there again.

`config.json` holds the folder as it was typed (`data`), its absolute path (`data_path`) and a digest of the records and
one of the images (`data_digest`); `data.csv` holds a row for each record, so that a difference can be named.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medcap_tf.data.records import Record
from medcap_tf.data.splits import ImageFile, Splits, content_digests
from medcap_tf.errors import InputError
from medcap_tf.files import write_text
from medcap_tf.run_folder import RunFolder

_COLUMNS = ("split", "ID", "record", "bytes", "image")
_UNREADABLE = "unreadable"
_AGAIN = re.compile(r" \(\d+\)$")  # after the ID of an image's further captions
_SHOWN = 3


class Entry(NamedTuple):
    """One record, or one concept's name, in few characters."""

    record: str  # digest of caption and concepts, or of the name
    size: str  # of the image file, in bytes
    image: str  # digest of its content, `unreadable`, or empty where there is no image


class Identity(NamedTuple):
    """What a run's data is, in the order that training reads it in."""

    entries: dict[tuple[str, str], Entry]  # by split and ID

    @classmethod
    def of(cls, splits: Splits, files: Sequence[Sequence[ImageFile]], names: Mapping[str, str]) -> Identity:
        """Of all records of a run, those with an unreadable image too, and the names of their concepts."""
        entries: dict[tuple[str, str], Entry] = {}
        for split, records, own in zip(Splits._fields, splits, files):
            times: Counter[str] = Counter()
            for record, file in zip(records, own):
                times[record.image_id] += 1  # an image with several captions has a record for each
                again = f" ({times[record.image_id]})" if times[record.image_id] > 1 else ""
                entry = Entry(_record_digest(record), str(file.size), _image_digest(record, file))
                entries[split, record.image_id + again] = entry
        named = {("concept name", code): Entry(_digest(name), "0", "") for code, name in sorted(names.items())}
        return cls({**entries, **named})

    def holds(self, records: Sequence[Record]) -> bool:
        """Whether all of these are among the run's records, by ID, caption and concepts, in whatever split."""
        entries = [(own, entry.record) for (_, own), entry in self.entries.items()]
        known = {*entries, *((_AGAIN.sub("", own), record) for own, record in entries)}
        return all((record.image_id, _record_digest(record)) in known for record in records)

    def is_test(self, records: Sequence[Record]) -> bool:
        """Whether these are the run's test records, all of them, each with the image that it had."""
        own = {image_id: entry for (split, image_id), entry in self.entries.items() if split == "test"}
        now = {record.image_id: _record_digest(record) for record in records}
        if {image_id: entry.record for image_id, entry in own.items()} != now:
            return False
        images = [record for record in records if record.image_path]
        pairs = zip(images, content_digests(images))
        return all(own[record.image_id].image in (digest[:32], _UNREADABLE) for record, digest in pairs)

    def digest(self) -> dict[str, str]:
        """One digest of all records and one of all images."""
        records = [(*key, entry.record) for key, entry in self.entries.items()]
        images = [(*key, entry.size, entry.image) for key, entry in self.entries.items()]
        return {"records": _digest(records), "images": _digest(images)}

    def save(self, run: RunFolder) -> None:
        """Write `data.csv`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((*key, *entry) for key, entry in self.entries.items())
        write_text(run.data, text.getvalue())

    @classmethod
    def load(cls, run: RunFolder) -> Identity | None:
        """Read what `save` wrote; None where it is missing or damaged."""
        try:
            with open(run.data, newline="", encoding="utf-8") as file:
                _header, *rows = csv.reader(file)
            return cls({(split, image_id): Entry(*rest) for split, image_id, *rest in rows})
        except (OSError, ValueError, TypeError):
            return None


def describe_data(data: Path, identity: Identity) -> dict[str, Any]:
    """What `config.json` says of the data."""
    return {"data": str(data), "data_path": str(data.resolve()), "data_digest": identity.digest()}


def check_same_data(run: RunFolder, written: Mapping[str, Any], data: Path, identity: Identity) -> None:
    """Compare the data at hand with that which a run was begun with; another path is no difference.

    Args:
        run: its folder.
        written: its `config.json`.
        data: the folder given now.
        identity: of the data in it.

    Raises:
        InputError: they differ; the message says in what.
    """
    if identity.digest() == written["data_digest"]:
        return
    before = Identity.load(run)
    changes = differences(before, identity) if before and before.digest() == written["data_digest"] else []
    what = "; ".join(changes) or f"{run.data.name}, which would tell the records, is missing or damaged"
    raise InputError(
        f"{run.path}: the data in {data} are not those the run was begun with in {written.get('data_path')} ({what}); "
        "bring them back, or choose another --out to begin a new run. Nothing was written"
    )


def differences(before: Identity, now: Identity) -> list[str]:
    """What became of the records, by kind, each with its first IDs."""
    old, new = before.entries, now.entries
    both = [key for key in old if key in new]
    images = [key for key in both if old[key][1:] != new[key][1:]]
    lost = [key for key in images if new[key].image == _UNREADABLE]
    changes = {
        "added": [key for key in new if key not in old],
        "gone": [key for key in old if key not in new],
        "with other captions or concepts": [key for key in both if old[key].record != new[key].record],
        "whose image cannot be read any more": lost,
        "with another image": [key for key in images if key not in set(lost)],
    }
    if not any(changes.values()):
        changes["in another order"] = [key for key, other in zip(old, new) if key != other]
    return [_named(kind, keys) for kind, keys in changes.items() if keys]


def _named(kind: str, keys: Sequence[tuple[str, str]]) -> str:
    first = ", ".join(" ".join(key) for key in keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
    return f"{len(keys)} {'record' if len(keys) == 1 else 'records'} {kind}: {first}"


def _record_digest(record: Record) -> str:
    return _digest([record.caption, sorted(record.concepts)])


def _image_digest(record: Record, file: ImageFile) -> str:
    if record.image_path is None:
        return ""
    return _UNREADABLE if file.problem else file.digest[:32]


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:32]
