"""`explain`, which draws why, and `audit`, which asks whether that is true."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcap_tf.cli import options
from medcap_tf.errors import InputError
from medcap_tf.files import read_json

if TYPE_CHECKING:
    from medcap_tf.captioner import RunCaptioner
    from medcap_tf.explain.clock import Clock
    from medcap_tf.explain.explainer import Explainer
    from medcap_tf.explain.explanation import Explanation
    from medcap_tf.explain.references import Pictured
    from medcap_tf.explain.sheet import Claim

_BEGAN = time.perf_counter()
_MOST_DPI = 2400  # where a caption's page is about 1 GB of pixels


def add_commands(commands: Any) -> None:
    """`explain` and `audit`."""
    _add_explain(commands)
    _add_audit(commands)


def _add_explain(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="draw why: regions of each word, words of each concept, layers",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Caption images and draw why: a report for the browser, pictures, and their numbers. At its end\n"
        "it says on stderr where the time went.",
        epilog="examples:\n"
        "  medcap explain RUN scan.png --out why\n"
        "  medcap explain RUN folder --references captions.xlsx --out why --no-pictures\n"
        "  medcap explain RUN --data DIR --split test --worst --limit 20 --out why\n\n"
        "With --data the report opens at the captions furthest from their references (by METEOR).",
    )
    parser.add_argument("model", type=Path, metavar="RUN")
    parser.add_argument("images", type=Path, nargs="*", metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--data", type=Path, metavar="DIR", help="instead of images: a data set, with its references")
    parser.add_argument("--split", default="test", help="which part of --data (default: %(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="explain the first N images alone")
    parser.add_argument("--worst", action="store_true", help="of all captions, those furthest from their references")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--layers", nargs="*", metavar="LAYER",
        help="ResNet50 layers to show, by name or running number (default: conv1_relu, conv2_block3_out and "
        "conv3_block4_out, as far as the run has them)",
    )  # fmt: skip
    parser.add_argument(
        "--methods", nargs="*", default=[], metavar="METHOD",
        help="tf-explain's views of the strongest concepts: all, or some of grad_cam, occlusion_sensitivity, "
        "integrated_gradients, smoothgrad, vanilla_gradients, gradients_inputs, activations (default: none)",
    )  # fmt: skip
    parser.add_argument("--references", type=Path, metavar="TABLE", help="reference captions; their words turn red")
    parser.add_argument(
        "--training-data", type=Path, metavar="DIR",
        help="the data set that RUN was trained on, to show similar images in it (default: where it lay then)",
    )  # fmt: skip
    parser.add_argument("--no-training-images", action="store_true", help="show similar images' captions alone")
    parser.add_argument("--no-pictures", action="store_true", help="report.html alone, as for hundreds of images")
    parser.add_argument(
        "--maps", nargs="+", default=[], choices=("png", "npy", "dicom"), metavar="FORMAT",
        help="the words' maps as files: png (gray, over the image), npy, dicom (of DICOM images: secondary captures "
        "and a segmentation that viewers lay over the image)",
    )  # fmt: skip
    parser.add_argument(
        "--sheet", action="store_true",
        help="NAME.sheet.png an image and sheet.csv: a box, a map and the source of each phrase, and what painting its "
        "box over costs",
    )  # fmt: skip
    parser.add_argument("--dpi", type=int, default=110, help="110 for a screen (default), 300 for print")
    parser.add_argument("--pdf", action="store_true", help="a PDF of each figure too")
    options.add_decoding(parser)
    parser.set_defaults(run=_explain)


def _explain(args: argparse.Namespace) -> None:
    options.check_out(args)
    explained = _explained(args)
    if "dicom" in args.maps:
        from medcap_tf.explain.dicom_maps import check_sources

        check_sources([image.path for image in explained])
    captioner = options.load(args)
    from tqdm import tqdm

    from medcap_tf.explain.clock import Clock
    from medcap_tf.explain.references import with_ids
    from medcap_tf.explain.report import write_report
    from medcap_tf.explain.worst import SCORE, worst

    explainer = _explainer(args, captioner)
    args.out.mkdir(parents=True, exist_ok=True)
    clock, count = Clock(), len(explained)
    clock.seconds["start-up"] = time.perf_counter() - _BEGAN
    captions = clock.each("captions", with_ids(captioner.caption([image.path for image in explained]), explained))
    references = {image.image_id: image.reference for image in explained}
    if args.worst:
        bar = tqdm(captions, total=count, desc="captions", unit="image", leave=False)
        lowest = worst(bar, references, args.limit or count)
        captions, count = iter(lowest), len(lowest)
    explanations = (explainer.explain(caption, references.get(caption.key, "")) for caption in captions)
    bar = tqdm(clock.each("explanations", explanations), total=count, unit="image", leave=False)
    errors: list[str] = []
    sheets: list[tuple[str, list[Claim]]] = []
    drawn = _drawn(args, bar, clock, errors)
    if args.sheet:
        drawn = _with_sheets(args, drawn, explainer, sheets)
    audited, title = args.model / "audit.json", f"Captions of {args.model.resolve().name}, and why"
    audit = read_json(audited, "remove it, or audit the run again") if audited.is_file() else None
    worst_by = SCORE if args.data or args.worst else ""
    with clock.part("report"):
        print(write_report(args.out / "report.html", drawn, title, audit, worst_by))
    if args.sheet:
        from medcap_tf.explain.sheet import write_table

        print(write_table(args.out / "sheet.csv", sheets))
    print(clock, file=sys.stderr)
    if errors:
        raise InputError(f"{len(errors)} of {count} images could not be read")


def _explainer(args: argparse.Namespace, captioner: RunCaptioner) -> Explainer:
    from medcap_tf.explain.explainer import Explainer, layer_by
    from medcap_tf.explain.methods import METHODS
    from medcap_tf.models.visual import shown_layers

    methods = METHODS if args.methods == ["all"] else args.methods
    if set(methods) - set(METHODS):
        raise InputError(f"--methods {' '.join(methods)}: there are all, {', '.join(METHODS)}")
    names = shown_layers(captioner.model.encoder) if args.layers is None else args.layers
    layers = [layer_by(captioner, name) for name in names]
    return Explainer(captioner, layers, methods, _training_data(args) if captioner.datastore else None)


def _training_data(args: argparse.Namespace) -> Path | None:
    """Where the images that RUN was trained on lie; None where they are not to be shown, or not at hand."""
    from medcap_tf.run_folder import RunFolder

    if args.no_training_images:
        return None
    if args.training_data:
        return args.training_data
    data = RunFolder(args.model).data_folder()
    if data.is_dir():
        return data
    print(
        f"{data}: the run's training data is not there any more, so similar images are shown by their captions alone; "
        "say by --training-data where it is",
        file=sys.stderr,
    )
    return None


def _drawn(
    args: argparse.Namespace,
    explanations: Iterable[Explanation],
    clock: Clock,
    errors: list[str],
) -> Iterator[Explanation]:
    """The explanations, each drawn where pictures are asked for; what images cannot be read, or maps not be written, is
    listed in `errors`."""
    from tqdm import tqdm

    from medcap_tf.explain.map_files import write_maps
    from medcap_tf.explain.pictures import write_pictures

    for explanation in explanations:
        if explanation.caption.error:
            errors.append(explanation.caption.error)
            tqdm.write(f"error: {explanation.caption.error}", file=sys.stderr)
        if not args.no_pictures:
            with clock.part("pictures"):
                written = write_pictures(explanation, args.out, args.dpi, args.pdf)
            print(*written, sep="\n", end="\n" if written else "")
        if args.maps:
            with clock.part("maps"):
                try:
                    for path in write_maps(explanation, args.out, args.maps):
                        print(path)
                except InputError as error:
                    errors.append(str(error))
                    tqdm.write(f"error: {error}", file=sys.stderr)
        yield explanation


def _with_sheets(
    args: argparse.Namespace,
    explanations: Iterable[Explanation],
    explainer: Explainer,
    sheets: list[tuple[str, list[Claim]]],
) -> Iterator[Explanation]:
    """The explanations, each with its sheet drawn; the claims go into `sheets`."""
    from medcap_tf.explain.pictures import file_name
    from medcap_tf.explain.plate import save
    from medcap_tf.explain.sheet import claims_of, sheet_figure

    for explanation in explanations:
        if not explanation.caption.error:
            claims = claims_of(explanation)
            claims = claims_of(explanation, explainer.erase(explanation, claims))
            path = args.out / f"{file_name(explanation.caption.path)}.sheet.png"
            save(partial(sheet_figure, explanation, claims), path, args.dpi, args.pdf)
            print(path)
            sheets.append((explanation.caption.key, claims))
        yield explanation


def _explained(args: argparse.Namespace) -> list[Pictured]:
    """The images to explain, each under an ID of its own, with the references that are known."""
    from medcap_tf.data.tables import read_captions
    from medcap_tf.explain.references import with_references

    if bool(args.images) == bool(args.data):
        raise InputError("give either images (or folders of them) or --data DIR")
    for option in ("limit", "dpi"):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise InputError(f"--{option} {getattr(args, option)}: give at least 1")
    if args.dpi > _MOST_DPI:
        raise InputError(f"--dpi {args.dpi}: give at most {_MOST_DPI}; 300 is fit for print")
    images, own = _of_split(args) if args.data else _of_files(args.images)
    if args.references:
        table = read_captions(args.references)
        options.show_problems(table.problems)
        images = with_references(images, table.values, str(args.references), own)
        print(f"references: of {sum(bool(i.reference) for i in images)} of {len(images)} images", file=sys.stderr)
    if not args.worst:
        return images[: args.limit]
    if not any(image.reference for image in images):
        raise InputError("--worst needs references: give --references TABLE, or --data with a split that has captions")
    return images


def _of_split(args: argparse.Namespace) -> tuple[list[Pictured], list[str]]:
    """The images of a split with its captions, and their IDs."""
    from medcap_tf.explain.references import Pictured

    records = [record for record in options.read_split(args)[0] if record.image_path]
    if not records:
        raise InputError(f"{args.data}: split {args.split!r} has no images")
    images = [Pictured(record.image_path, record.image_id, record.caption) for record in records]
    return images, [record.image_id for record in records]


def _of_files(paths: Sequence[Path]) -> tuple[list[Pictured], list[str]]:
    """Image files, and what those inside folders are called from the folder on."""
    from medcap_tf.data.folders import find_files
    from medcap_tf.explain.references import id_within, name_images

    files = [(path, top) for top in paths for path in find_files([top])]
    return name_images([path for path, _ in files]), [id_within(*pair) if pair[0] != pair[1] else "" for pair in files]


def _add_audit(commands: Any) -> None:
    parser = commands.add_parser("audit", help="hold the explanations against the truth, chance and a randomized model")
    parser.add_argument("model", type=Path, metavar="RUN")
    options.add_split(parser)
    parser.add_argument("--images", type=int, default=40, metavar="N", help="for the costly measures (default: 40)")
    parser.add_argument("--seed", type=options.natural, default=0, help="of what is drawn at random")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where audit.json and audit.png go (default: RUN)")
    options.add_decoding(parser)
    parser.set_defaults(run=_audit)


def _audit(args: argparse.Namespace) -> None:
    if args.images < 1:
        raise InputError(f"--images {args.images}: give at least 1")
    options.check_out(args)
    records, dataset = options.read_split(args)
    captioner = options.load(args)
    training = dataset.splits.get(captioner.config.data.train_split, [])
    from medcap_tf.explain.audit import audit, format_audit, write_audit
    from medcap_tf.explain.audit_figure import audit_figure
    from medcap_tf.explain.plate import save

    measures = audit(captioner, records, args.split, args.images, args.seed, training)
    out, name = args.out or args.model, f"audit{options.suffix_of_files(args, records)}"
    write_audit(out / f"{name}.json", measures)
    save(partial(audit_figure, measures), out / f"{name}.png", dpi=110)
    print(format_audit(measures))
    print(f"\n{out}: {name}.json, {name}.png", file=sys.stderr)
