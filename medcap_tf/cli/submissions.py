"""The commands for run files: `submit` writes those of a run, `check` looks at one from anywhere and mends it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcap_tf.cli import options
from medcap_tf.errors import InputError

_SHOWN = 20  # problems of a run file; the same mistake tends to be in every row


def add_commands(commands: Any) -> None:
    """`submit` and `check`."""
    _add_submit(commands)
    _add_check(commands)


def _add_submit(commands: Any) -> None:
    parser = commands.add_parser(
        "submit",
        help="write ImageCLEFmed Caption run files, or check one",
        description="Captions a split with a run and writes the run files for captions and concepts, if they pass the"
        " organizers' checks; with --check FILE, checks a file that exists, as `check` does.",
    )
    parser.add_argument("model", type=Path, metavar="RUN", nargs="?", help="not needed with --check")
    options.add_split(parser)
    options.add_edition(parser, "--format", required=True)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the files go (default: RUN/submission)")
    parser.add_argument("--check", type=Path, metavar="FILE", help="check this file and write nothing")
    options.add_decoding(parser)
    parser.set_defaults(run=_submit)


def _submit(args: argparse.Namespace) -> None:
    if (args.model is None) == (args.check is None):
        raise InputError("submit: give either a RUN to caption the split with, or --check FILE")
    records, _ = options.read_split(args)
    if args.check:
        _report(args.check, _read(args.check), [record.image_id for record in records], args.edition)
        return
    if any(record.image_path is None for record in records):
        raise InputError(f"{args.data}: split {args.split!r} has no images to caption")
    options.check_out(args)
    from tqdm import tqdm

    from medcap_tf.evaluation.submission import CAPTIONS, CONCEPTS, codes_of, write

    captioner = options.load(args)
    generated = captioner.caption([record.image_path for record in records])
    captions = list(tqdm(generated, total=len(records), desc=f"caption {args.split}", unit="image", leave=False))
    values = {CAPTIONS: [caption.text for caption in captions]}
    if captioner.concepts:
        values[CONCEPTS] = [";".join(codes_of(caption, captioner.concepts, args.edition)) for caption in captions]
    ids = [record.image_id for record in records]
    runs = {kind: list(zip(ids, column)) for kind, column in values.items()}
    for caption in captions:
        if caption.error:
            print(f"its row is empty: {caption.error}", file=sys.stderr)
    for path in write(args.out or args.model / "submission", runs, args.edition):
        print(path)


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="check an ImageCLEFmed Caption run file, and mend it",
        description="Says with row numbers for what the organizers' script would refuse a run file, whoever wrote it:"
        " byte order mark, header, quoting, empty lines, codes, duplicates; with --data unknown and missing IDs and the"
        " order, too. With --repair, what is beyond doubt is put right in a new file, and said.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    options.add_edition(parser, required=True)
    parser.add_argument("--data", type=Path, metavar="DIR", help="the data set whose IDs the rows should have")
    parser.add_argument("--split", default="test", help="of it (default: %(default)s)")
    parser.add_argument("--repair", type=Path, metavar="OUT", help="write the mended file here")
    parser.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> None:
    ids = [record.image_id for record in options.read_split(args)[0]] if args.data else None
    data = _read(args.file)
    if args.repair is None:
        _report(args.file, data, ids, args.edition)
        return
    from medcap_tf.evaluation.repair import repair
    from medcap_tf.files import write_bytes

    options.check_outside("--repair", args.repair, args.data)
    if args.repair.exists() and args.repair.samefile(args.file):
        raise InputError(f"--repair {args.repair}: is the file itself; give another name, to compare both")
    repaired = repair(data, str(args.file), ids, args.edition)
    _show(args.file, repaired.changes, "changes")
    write_bytes(args.repair, repaired.data)
    _report(args.repair, repaired.data, ids, args.edition)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check the path") from error


def _report(path: Path, data: bytes, ids: Sequence[str] | None, edition: str) -> None:
    """Print what the check finds; raises InputError where the file would be refused."""
    from medcap_tf.evaluation.submission import check

    checked = check(data, str(path), ids, edition)
    _show(path, checked.problems, "problems")
    for remark in checked.remarks:
        print(f"{path}: {remark}")
    if checked.problems:
        raise InputError(
            f"{path}: {len(checked.problems)} problems; as a {edition} run of {checked.kind} it would fail"
        )
    images = "" if ids is None else f" for {len(ids)} images"
    print(f"{path}: a valid {edition} run of {checked.kind}{images}")


def _show(path: Path, problems: Sequence[Any], what: str) -> None:
    for problem in problems[:_SHOWN]:
        print(f"{problem.file}:{problem.row}: {problem.problem}")
    if len(problems) > _SHOWN:
        print(f"{path}: and {len(problems) - _SHOWN} {what} more")
