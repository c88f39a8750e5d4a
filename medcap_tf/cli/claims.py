"""`lint` doubts the claims of captions; `rate` and `ratings` ask people."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from medcap_tf.cli import options
from medcap_tf.errors import InputError


def add_commands(commands: Any) -> None:
    """`lint`, `rate` and `ratings`."""
    _add_lint(commands)
    _add_rate(commands)
    _add_ratings(commands)


def _add_lint(commands: Any) -> None:
    parser = commands.add_parser(
        "lint",
        help="claims of captions that nothing supports, or that no model can know",
        description="Names, caption by caption, a modality that the image's concepts contradict, arrows and their"
        " colors, measurements, unreadable pieces of words and repetitions. Sides are compared with their maps by"
        " `explain`, whose report shows the doubts beside each image.",
    )
    parser.add_argument("captions", type=Path, metavar="TABLE", help="ID and caption, any layout, as predictions.csv")
    parser.add_argument("--concepts", type=Path, metavar="TABLE", help="ID and codes of the same images")
    parser.add_argument("--names", type=Path, metavar="TABLE", help="what the codes are called, as concept_names.csv")
    parser.add_argument("--json", action="store_true", help="the same for machines")
    parser.set_defaults(run=_lint)


def _lint(args: argparse.Namespace) -> None:
    from medcap_tf.data.cells import is_cui
    from medcap_tf.data.tables import read_captions
    from medcap_tf.explain.claims import doubtful_claims

    captions = read_captions(args.captions)
    options.show_problems(captions.problems)
    codes = _codes_of(captions.values, args.concepts) if args.concepts else {}
    names = {code.upper(): name for code, name in options.read_names(args.names).items()} if args.names else {}
    unnamed = sorted({code for own in codes.values() for code in own if code.upper() not in names})
    if unnamed and (args.names or any(map(is_cui, unnamed))):
        print(
            f"{len(unnamed)} codes have no name, so that no modality is read from them: {_some_of(unnamed)}; give"
            " --names",
            file=sys.stderr,
        )
    doubts = {
        image_id: doubtful_claims(
            text.split(), None, [names.get(code.upper(), code) for code in codes.get(image_id, ())]
        )
        for image_id, text in captions.values.items()
    }
    counts = Counter(doubt.rule for own in doubts.values() for doubt in own)
    if args.json:
        listed = {image_id: [doubt._asdict() for doubt in own] for image_id, own in doubts.items() if own}
        print(json.dumps({"captions": len(doubts), "rules": counts, "doubts": listed}, indent=2, ensure_ascii=False))
        return
    for image_id, own in doubts.items():
        for doubt in own:
            print(f"{image_id}: {doubt}")
    shown = ", ".join(f"{count} {rule}" for rule, count in counts.most_common()) or "none"
    print(f"{sum(map(bool, doubts.values()))} of {len(doubts)} captions have doubtful claims: {shown}")


def _codes_of(captions: Collection[str], path: Path) -> dict[str, tuple[str, ...]]:
    """The codes of captions by their IDs; those without any are said, and refused where all are."""
    from medcap_tf.data.tables import alike, read_concepts

    table = read_concepts(path)
    options.show_problems(table.problems)
    renamed = alike(table.values, captions)
    codes = {renamed.get(image_id, image_id): own for image_id, own in table.values.items()}
    _say_missing([image_id for image_id in captions if image_id not in codes], captions, f"codes in {path}")
    return codes


def _say_missing(missing: Sequence[str], captions: Collection[str], what: str) -> None:
    if len(missing) == len(captions):
        raise InputError(f"none of the {len(captions)} captions has {what}: the first ID is {missing[0]!r}")
    if missing:
        print(f"{len(missing)} of {len(captions)} captions are without {what}: {_some_of(missing)}", file=sys.stderr)


def _some_of(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _add_rate(commands: Any) -> None:
    parser = commands.add_parser(
        "rate",
        help="write a form on which people rate captions by five criteria",
        description="Writes one HTML file with images and captions, in a random order, without references. A rater"
        " opens it, rates each caption from 1 to 5 for correctness, faithfulness, clinical relevance, clarity and"
        " completeness, and saves a table for `ratings`. Nothing leaves the page by itself.",
    )
    parser.add_argument("captions", type=Path, metavar="TABLE", help="ID and caption, any layout, as predictions.csv")
    options.add_split(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FORM.html")
    parser.add_argument("--limit", type=options.positive, default=50, metavar="N", help="images (default: %(default)s)")
    parser.add_argument("--seed", type=options.natural, default=0, metavar="S", help="of which images, in which order")
    parser.set_defaults(run=_rate)


def _rate(args: argparse.Namespace) -> None:
    import numpy as np

    from medcap_tf.data.tables import read_captions
    from medcap_tf.explain.rating_form import Rated, write_form

    captions, (records, _) = read_captions(args.captions), options.read_split(args)
    if args.out.suffix.lower() not in (".html", ".htm"):  # it may be one of its tables
        options.check_outside("--out", args.out, args.data)
    if args.out.resolve() == args.captions.resolve():
        raise InputError(f"--out {args.out}: is the table of captions, which it would replace; give another file")
    options.show_problems(captions.problems)
    known = {record.image_id: record.image_path for record in records if record.image_path is not None}
    shared = [image_id for image_id in captions.rows if image_id in known]
    missing = [image_id for image_id in captions.rows if image_id not in known]
    _say_missing(missing, captions.rows, f"an image in split {args.split!r} of {args.data}")
    drawn = np.random.default_rng(args.seed).permutation(len(shared))[: args.limit]
    rated = [Rated(shared[i], known[shared[i]], captions.values.get(shared[i], "")) for i in drawn]
    print(write_form(args.out, rated, f"Rating captions of {args.captions.name}"))


def _add_ratings(commands: Any) -> None:
    parser = commands.add_parser(
        "ratings",
        help="what raters say: means by criterion, and how far they agree",
        description="Prints the mean of each criterion over images, with a 95% interval, and the mean over pairs of"
        " raters of Cohen's kappa with quadratic weights.",
    )
    parser.add_argument(
        "tables", type=Path, nargs="+", metavar="RATINGS.csv", help="as the form saves them, one a rater"
    )
    parser.add_argument("--json", action="store_true", help="the same for machines")
    parser.set_defaults(run=_ratings)


def _ratings(args: argparse.Namespace) -> None:
    from medcap_tf.evaluation.ratings import read_ratings, summarize

    for path in args.tables:
        if sum(path.exists() and path.samefile(other) for other in args.tables if other.exists()) > 1:
            raise InputError(f"{path}: is given twice, which would be a rater who agrees with himself; give it once")
    found = summarize([read_ratings(path) for path in args.tables])
    if args.json:
        print(json.dumps({"raters": len(args.tables), "criteria": found}, indent=2))
        return
    print(f"{'criterion':<22}{'images':>8}{'mean':>8}{'95% interval':>16}{'kappa':>8}{'pairs':>7}")
    for name, own in found.items():
        mean = "-" if own["mean"] is None else f"{own['mean']:.2f}"
        interval = "" if own["mean"] is None else f"[{own['low']:.2f}, {own['high']:.2f}]"
        kappa = "-" if own["agreement"] is None else f"{own['agreement']:.2f}"
        title = name.replace("_", " ")
        print(f"{title:<22}{own['images']:>8}{mean:>8}{interval:>16}{kappa:>8}{own['pairs']:>7}")
