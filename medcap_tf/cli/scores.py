"""The commands that score: a run on a split, tables against a reference, two tables against each other."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medcap_tf.cli import options
from medcap_tf.errors import InputError

_NOTHING = "no image has what it goes by"


def add_commands(commands: Any) -> None:
    """`evaluate`, `score` and `compare`."""
    _add_evaluate(commands)
    _add_score(commands)
    _add_compare(commands)


def _add_evaluate(commands: Any) -> None:
    """`evaluate`, which captions a split and scores it."""
    parser = commands.add_parser(
        "evaluate",
        help="caption a split and score it, beside the baselines",
        description="Writes predictions.csv, concepts.csv, scores.json (with 95% bootstrap intervals over the images),"
        " and groups.csv and groups.png: scores by concept, by length, and for captions seen in training or not;"
        " and calibration.png, of a run with calibration.json: how far its confidence can be relied on. In the"
        " run folder these are of its own test split; what is of another split, of other data or of other decoding has"
        " that in its name, as scores_valid.json has. A split without"
        " captions is captioned and not scored. Images of a split that is part of the run's datastore are not given"
        " their own entries as neighbors.",
    )
    add_evaluation(parser)
    parser.set_defaults(run=_evaluate)


def add_evaluation(parser: argparse.ArgumentParser) -> None:
    """What an evaluation is given."""
    parser.add_argument("model", type=Path, metavar="RUN")
    options.add_split(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the files go (default: RUN)")
    options.add_edition(parser)
    options.add_weights(parser)
    options.add_decoding(parser)


def _evaluate(args: argparse.Namespace) -> None:
    records, dataset = options.read_split(args)
    options.check_out(args)
    if args.weights and not args.edition:
        raise InputError("--weights: is for --edition")
    evaluate_split(args, options.load(args), records, dataset)


def evaluate_split(args: argparse.Namespace, captioner: Any, records: Sequence[Any], dataset: Any) -> None:
    """Caption and score a split, write the files and print the scores."""
    from medcap_tf.data.datastore import Datastore
    from medcap_tf.evaluation.evaluate import EvaluationOptions, evaluate
    from medcap_tf.evaluation.neighbors import Tuned
    from medcap_tf.evaluation.neural import EditionChoice
    from medcap_tf.evaluation.score_files import format_scores
    from medcap_tf.run_folder import RunFolder

    out = args.out or args.model
    datastore = Datastore.load(RunFolder(args.model))
    suffix = options.suffix_of_files(args, records)
    edition = EditionChoice(args.edition, args.weights) if args.edition else None
    choices = EvaluationOptions(edition, Tuned.load(RunFolder(args.model), captioner.concepts))
    scores = evaluate(captioner, records, args.split, datastore, out, dataset.concept_names, suffix, choices)
    if scores is None:
        print(f"{args.data}: split {args.split!r} has no captions to score against")
    else:
        print(format_scores(scores))
    names = ["predictions.csv", "concepts.csv", *(["scores.json", "groups.csv", "groups.png"] if scores else [])]
    if "confidence_ece" in (scores or {}).get("calibration", {}):
        names.append("calibration.png")
    print(f"\n{out}: {', '.join(name.replace('.', f'{suffix}.') for name in names)}", file=sys.stderr)


def _add_score(commands: Any) -> None:
    """`score`, for tables of captions from anywhere."""
    parser = commands.add_parser(
        "score",
        help="score one table of captions or concepts against another",
        description="Prints every score as JSON; under `notes` those that cannot mean anything, and why. With"
        " --edition, the scores of that year's ImageCLEFmed Caption stand beside them; one that is null was not"
        " computed, and its note says for want of what.",
    )
    parser.add_argument("--references", type=Path, required=True, metavar="TABLE", help="ID and caption, any layout")
    parser.add_argument("--predictions", type=Path, required=True, metavar="TABLE")
    _add_of_edition(parser)
    parser.set_defaults(run=_score)


def _add_of_edition(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--concepts", action="store_true", help="the tables hold concepts, as concepts.csv")
    options.add_edition(parser)
    options.add_weights(parser)
    parser.add_argument(
        "--manual", type=Path, metavar="TABLE", help="concepts_manual.csv, for the secondary F1 of an edition"
    )
    parser.add_argument(
        "--names", type=Path, metavar="TABLE", help="concept_names.csv: which findings, sides and organs are wrong"
    )


class _Scored(NamedTuple):
    """The scores of one table, by image; of an edition those that were not computed, and why; further notes."""

    parts: dict[str, Any]
    absent: dict[str, str]
    notes: dict[str, str]


class _Answers(NamedTuple):
    """What one table says of each image: as it is read, and as it is written, which the scripts of an edition see."""

    values: list[Any]
    written: list[str]


def _parts_of(truth: _Answers, system: _Answers, manual: _Answers | None, args: argparse.Namespace) -> _Scored:
    from medcap_tf.evaluation.metrics import (
        ConceptNames,
        caption_parts,
        concept_parts,
        edition_concept_parts,
        finding_parts,
        missing_concepts,
    )

    if args.concepts:
        parts, year = concept_parts(truth.values, system.values), args.edition
        if not year:
            return _Scored(parts, {}, {})
        own = edition_concept_parts(year, truth.values, system.values, manual and manual.values)
        return _Scored({**parts, **own}, missing_concepts(year, own, "--manual TABLE (concepts_manual.csv)"), {})
    parts, absent = caption_parts(truth.values, system.values), {}
    if args.names:
        names = ConceptNames(options.read_names(args.names))
        found = finding_parts(truth.values, system.values, [()] * len(truth.values), names)
        absent = {name: f"not computed: {part.note()}" for name, part in found.items() if part.note()}
        parts.update({name: part for name, part in found.items() if name not in absent})
    if not args.edition:
        return _Scored(parts, absent, {})
    from medcap_tf.evaluation.neural import Captioned, edition_scores

    nothing = [None] * len(system.written)
    scores = edition_scores(Captioned(args.edition, truth.written, system.written, nothing), args.weights)
    return _Scored({**parts, **scores.parts}, {**absent, **scores.absent}, scores.notes)


def _read_tables(tables: list[Path], args: argparse.Namespace) -> tuple[list[_Answers], _Answers | None]:
    """The references and each table of predictions in one order, and the codes of --manual in the same."""
    if args.manual and not (args.concepts and args.edition):
        raise InputError("--manual: is for --concepts with --edition")
    if args.weights and (args.concepts or not args.edition):
        raise InputError("--weights: is for captions with --edition")
    if args.names and args.concepts:
        raise InputError("--names: is for captions; leave --concepts out")
    if args.manual:
        truth, manual, *systems = _read_aligned([args.references, args.manual], tables, True)
        return [truth, *systems], manual
    return _read_aligned([args.references], tables, args.concepts), None


def _score(args: argparse.Namespace) -> None:
    from medcap_tf.evaluation.metrics import notes_on

    (references, system), manual = _read_tables([args.predictions], args)
    scored = _parts_of(references, system, manual, args)
    notes = {**notes_on(scored.parts), **scored.notes, **scored.absent}
    scores: dict[str, Any] = {name: part.score() for name, part in scored.parts.items()}
    scores.update(dict.fromkeys(scored.absent))
    for name in [name for name, score in scores.items() if score is not None and math.isnan(score)]:
        scores[name], notes[name] = None, f"not computed: {_NOTHING}"
    print(json.dumps({**scores, **({"notes": notes} if notes else {})}, indent=2, ensure_ascii=False))


def _add_compare(commands: Any) -> None:
    """`compare`, the paired test of two tables of predictions."""
    parser = commands.add_parser(
        "compare",
        help="whether one of two tables of predictions is really better",
        description="Scores two tables of predictions for the same images and tests the difference B - A of each"
        " metric: a paired bootstrap 95% interval, and a two-sided p-value by approximate randomization. Each p-value"
        " is of one metric alone: of twenty tests without any difference, one is below 0.05 on average.",
    )
    parser.add_argument("first", type=Path, metavar="A.csv", help="ID and caption, any layout, as predictions.csv")
    parser.add_argument("second", type=Path, metavar="B.csv")
    parser.add_argument("--references", type=Path, required=True, metavar="TABLE")
    parser.add_argument("--metric", nargs="+", metavar="NAME", help="bleu_4, cider, ...; default: all")
    _add_of_edition(parser)
    parser.add_argument(
        "--permutations", type=options.positive, default=10_000, metavar="P", help="default: %(default)s"
    )
    parser.add_argument("--seed", type=options.natural, default=0, metavar="S", help="of what is drawn at random")
    parser.add_argument("--json", action="store_true", help="the same for machines")
    parser.set_defaults(run=_compare)


def _compare(args: argparse.Namespace) -> None:
    from medcap_tf.evaluation.metrics import compare

    (references, *systems), manual = _read_tables([args.first, args.second], args)
    scored = [_parts_of(references, system, manual, args) for system in systems]
    both = [name for name in scored[0].parts if name in scored[1].parts]
    absent = {**scored[1].absent, **scored[0].absent}
    unknown = sorted(set(args.metric or ()) - set(both))
    if unknown:
        reason = "".join(f"; {name} was {absent[name]}" for name in unknown if name in absent)
        raise InputError(f"--metric {' '.join(unknown)}: there are {', '.join(both)}{reason}")
    first, second = ({name: own.parts[name] for name in args.metric or both} for own in scored)
    computable = [name for name in first if not any(math.isnan(own[name].score()) for own in (first, second))]
    absent.update({name: f"not computed: {_NOTHING}" for name in first if name not in computable})
    if not computable:
        raise InputError(f"no score can be computed of both tables: {_NOTHING} ({', '.join(first)})")
    first, second = ({name: own[name] for name in computable} for own in (first, second))
    differences = compare(first, second, permutations=args.permutations, seed=args.seed)
    notes = _notes_on_comparison(first, second, args.permutations)
    notes.update({name: [note] for name, note in ({} if args.metric else absent).items()})
    if args.json:
        metrics = {name: difference._asdict() for name, difference in differences.items()}
        extra = {"notes": {name: "; ".join(own) for name, own in notes.items()}} if notes else {}
        print(json.dumps({"images": len(references.values), "metrics": metrics, **extra}, indent=2, ensure_ascii=False))
        return
    print(f"{len(references.values)} images; A: {args.first}; B: {args.second}")
    print(f"{'metric':<22}{'A':>10}{'B':>10}{'B - A':>10}{'95% interval':>22}{'p':>10}")
    for name, (a, b, difference, low, high, p_value) in differences.items():
        interval, mark = f"[{low:+.4f}, {high:+.4f}]", " *" if name in notes else ""
        print(f"{name:<22}{a:>10.4f}{b:>10.4f}{difference:>+10.4f}{interval:>22}{p_value:>10.4f}{mark}")
    for note in dict.fromkeys(note for own in notes.values() for note in own):
        print(f"* {', '.join(name for name, own in notes.items() if note in own)}: {note}")


def _notes_on_comparison(first: Any, second: Any, permutations: int) -> dict[str, list[str]]:
    """By score, and under `intervals`: what cannot mean anything, and why; what holds of one table names it."""
    from medcap_tf.evaluation.metrics import notes_on, notes_on_intervals, notes_on_tests

    ours, theirs, tests = notes_on(first), notes_on(second), notes_on_tests(first, second, permutations)
    notes = {}
    for name in first:
        a, b = ours.get(name, ""), theirs.get(name, "")
        of_tables = [a] if a == b else [f"{table}: {note}" for table, note in (("A", a), ("B", b)) if note]
        notes[name] = [note for note in (*of_tables, tests.get(name, "")) if note]
    intervals = notes_on_intervals(len(next(iter(first.values())).values))
    notes.update({name: [note] for name, note in intervals.items()})
    return {name: own for name, own in notes.items() if own}


def _read_aligned(references: list[Path], predictions: list[Path], concepts: bool = False) -> list[_Answers]:
    """The values of each table of references, then of predictions, in one order of IDs: that of the first.

    An empty prediction is an answer, a bad one; an ID that is not there is a mistake.
    """
    from medcap_tf.data.tables import read_captions, read_concepts

    what = "concepts" if concepts else "captions"
    paths = [*references, *predictions]
    # What is no code is left out of the references; among the answers it is a wrong one, as to the organizers.
    truth, *tables = (
        read_concepts(path, keep_all=number >= len(references)) if concepts else read_captions(path)
        for number, path in enumerate(paths)
    )
    for path, table in zip(paths, (truth, *tables)):
        options.show_problems(table.problems)
        if not concepts:
            _refuse_codes(path, table.values)
    ids = sorted(truth.values)
    for path, table in zip(paths[1:], tables):
        missing, unknown = set(ids) - set(table.rows), set(table.rows) - set(truth.rows)
        for wrong, message in ((missing, f"has no {what} for"), (unknown, f"has {what} for unknown")):
            if wrong:
                shown = ", ".join(sorted(wrong)[:5]) + (", ..." if len(wrong) > 5 else "")
                raise InputError(f"{path}: {message} {len(wrong)} IDs of {references[0]} ({shown})")
        if concepts:
            _warn_of_other_codes(path, table.values, truth.values)
    return [
        _Answers([table.values.get(i, () if concepts else "") for i in ids], [table.written.get(i, "") for i in ids])
        for table in (truth, *tables)
    ]


def _refuse_codes(path: Path, captions: Mapping[str, Any]) -> None:
    """Raise InputError where a table of captions holds codes alone."""
    from medcap_tf.data.cells import holds_cuis

    if captions and all(map(holds_cuis, captions.values())):
        raise InputError(f"{path}: holds codes, not captions; give --concepts to score them")


def _warn_of_other_codes(path: Path, answers: Mapping[str, Any], references: Mapping[str, Any]) -> None:
    """Say on stderr what makes all answers wrong at once: codes of another form than the references'."""
    known, named = ({c.upper() for own in values.values() for c in own} for values in (references, answers))
    if known and named and not known & named:
        print(
            f"{path}: none of its codes is one of the references', such as {min(named)!r} and {min(known)!r}; all count"
            " as wrong",
            file=sys.stderr,
        )
