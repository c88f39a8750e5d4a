"""What the names of a data set's files and folders say: the split, and what a table holds."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from medcap_tf.data.columns import SPLITS


def words_of(name: str) -> set[str]:
    """The words of a file name: `ImageCLEF2021_TestSet` has image, clef, test, set."""
    name = re.sub(r"(?i)imageclef(med(ical)?)?[_-]?caption[_-]?\d*", "", name)  # a prefix on tables of every kind
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def split_of(path: PurePosixPath, root: Path) -> str | None:
    """The split that the innermost telling name on the path belongs to; None where none tells."""
    for part in reversed(path.parts):
        words = {re.sub("set$", "", word) for word in words_of(part)}
        named = [split for split, names in SPLITS.items() if words.intersection(names)]
        if len(named) == 1:
            return named[0]
    # The root's name may be anything, so it has to be a split's and nothing else.
    return next((split for split, names in SPLITS.items() if root.name.lower() in names), None)


def kind_of_table(path: PurePosixPath) -> str | None:
    """`captions`, `concepts`, those checked by hand (`manual`), `names` of codes; None where the name does not tell."""
    words = words_of(path.stem)
    if words & {"readme", "license", "licence"}:
        return None
    of_concepts = words & {"concept", "concepts", "cui", "cuis"}
    if words & {"mapping", "map", "names"}:
        return "names" if of_concepts else None
    if of_concepts:
        return "manual" if "manual" in words else "concepts"
    return "captions" if words & {"caption", "captions"} else None
