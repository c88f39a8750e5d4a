"""What makes a data set hard to learn from, in captions and codes: text that tells nothing of the image, captions of
pages, codes that hardly occur, codes checked by hand that disagree with the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medcap_tf.data.records import Dataset, Problem, Record

OVERLONG_WORDS = 100
"""More words than any one image needs: in ROCOv2 three quarters of the captions have below 27."""

TAIL = (1, 5, 10, 50)
"""For each, how many codes occur at most so often in training."""

_SHARE_OF_MODE = 0.05  # a kind of image that fewer have is named

# What stands where a caption was lost, cut or never there.
_JUNK = re.compile(
    r"(?:\(?(?:to be )?cont(?:inued|inuation|\.|\b).{0,20}"
    r"|(?:supplementa(?:ry|l) )?(?:video|movie|audio|data|file|material)s?(?: link| clip)?\W*(?:\d+|https?://\S*)?"
    r"|(?:see|as in|refer to) (?:the )?(?:text|legend|above|below|previous (?:figure|image)|main text).{0,20}"
    r"|click .{0,40}|(?:download|view) (?:here|(?:the )?(?:figure|image|video|article)).{0,30}"
    r"|(?:fig(?:ure|\.)?|image|panel|case|patient|table|photo|no\.?) ?(?:\d+|[a-z])?\W*(?:\(?[a-z]\)?)?"
    r"|https?://\S+|www\.\S+"
    r"|no (?:caption|title|legend|description)(?: available)?|untitled|legend|caption|copyright .{0,60}|©.{0,60}"
    r"|[\W\d_]+)[\s.:;]*",
    re.IGNORECASE,
)


def junk_captions(dataset: Dataset) -> Iterator[Problem]:
    """Captions that tell nothing of their image, such as "Continued" or "Video Link:"."""
    for split, records in dataset.splits.items():
        for record in records:
            if record.caption and _JUNK.fullmatch(record.caption):
                text = f"junk caption: {record.caption[:60]!r} of {record.image_id!r} says nothing of the image"
                yield Problem(dataset.tables.get(split, split), record.row, text)


def overlong_captions(dataset: Dataset) -> Iterator[Problem]:
    """Captions of more words than one image needs: whole paragraphs, or a table that was read into one row."""
    for split, records in dataset.splits.items():
        for record in records:
            words = len(record.caption.split())
            if words > OVERLONG_WORDS:
                text = f"overlong caption: {words} words of {record.image_id!r}, beginning {record.caption[:40]!r}"
                yield Problem(dataset.tables.get(split, split), record.row, text)


def concept_tail(splits: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """How many of the training codes are rare, and how much of each other split is labeled with codes that training
    shows never.

    Returns:
        `at_most`: count -> codes of training that occur at most so often; `unseen`: split -> distinct codes that
        training has not, `unseen_assignments`: how many labels those are. Empty without a training split or codes.
    """
    counts = Counter(code for record in splits.get("train", ()) for code in set(record.concepts))
    if not counts:
        return {}
    others = {
        split: Counter(code for record in records for code in set(record.concepts) if code not in counts)
        for split, records in splits.items()
        if split != "train"
    }
    return {
        "at_most": {str(most): sum(count <= most for count in counts.values()) for most in TAIL},
        "unseen": {split: len(own) for split, own in others.items()},
        "unseen_assignments": {split: sum(own.values()) for split, own in others.items()},
    }


def disagreeing_manual(dataset: Dataset) -> Iterator[Problem]:
    """Images whose hand-checked codes are not among their others: the primary and the secondary score contradict."""
    for split, records in dataset.splits.items():
        for record in records:
            extra = sorted(set(record.manual or ()) - set(record.concepts)) if record.concepts else []
            if extra:
                text = f"manual concept apart: {', '.join(extra)} of {record.image_id!r} is not among its concepts"
                yield Problem(dataset.tables.get(split, split), record.row, text)


def nameless_codes(dataset: Dataset) -> Iterator[Problem]:
    """Codes that occur and that the table of names lacks, where there is one."""
    codes = {code for records in dataset.splits.values() for record in records for code in record.concepts}
    missing = sorted(codes - set(dataset.concept_names)) if dataset.concept_names else []
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        yield Problem("", 0, f"code without name: {len(missing)} of {len(codes)} codes have none ({shown})")


def differing_modes(modes: Mapping[str, Mapping[str, str]]) -> Iterator[Problem]:
    """Images of another mode than nearly all: a color picture among gray ones, an alpha channel, a palette.

    Args:
        modes: split -> path of an image -> its mode.
    """
    counts = Counter(mode for own in modes.values() for mode in own.values())
    rare = {mode for mode, count in counts.items() if count < _SHARE_OF_MODE * sum(counts.values())}
    usual = ", ".join(mode for mode, _ in counts.most_common() if mode not in rare)
    for own in modes.values():
        for path, mode in own.items():
            if mode in rare:
                yield Problem(path, 0, f"differing mode: {mode}, where most images are {usual}")
