"""`caption`, which captions image files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcap_tf.caption import NOVEL_FROM, UNLIKE
from medcap_tf.cli import options, serving
from medcap_tf.errors import InputError


def add_commands(commands: Any) -> None:
    """`caption`."""
    _add_caption(commands)


def _add_caption(commands: Any) -> None:
    parser = commands.add_parser("caption", help="caption image files or folders of them")
    parser.add_argument("model", type=Path, metavar="RUN_OR_EXPORT")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER")
    parser.add_argument(
        "--json", action="store_true", help="an object a line, with stems, concepts, word weights and regions"
    )
    parser.add_argument(
        "--novel-from", type=options.percentile, default=NOVEL_FROM, metavar="P",
        help=f"percentile of novelty from which on an image is called {UNLIKE} (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--abstain", action="store_true", help=f"give no caption of an image that is {UNLIKE}, and say so"
    )
    options.add_decoding(parser)
    parser.set_defaults(run=_caption)


def _caption(args: argparse.Namespace) -> None:
    from medcap_tf.data.folders import find_files

    paths = find_files(args.images)
    captioner = serving.exported(args) or serving.saved_graph(args) or options.load(args)
    failed = 0
    for caption in captioner.caption(paths):
        caption = caption.unless_novel(args.novel_from) if args.abstain else caption
        if args.json:
            print(
                json.dumps(
                    _caption_json(caption, _word_scores(captioner, caption), args.novel_from), ensure_ascii=False
                )
            )
        elif caption.error:
            print(f"error: {caption.error}", file=sys.stderr)
        else:
            score = "" if caption.abstained else f"{caption.score:.4f}"
            trust = options.trust_columns(caption.confidence, caption.novelty, args.novel_from)
            print("\t".join([str(caption.path), caption.text, score, *trust]))
            concepts = ", ".join(f"{caption.concept_label(code)} {score:.2f}" for code, score in caption.concepts)
            note = f"no caption: {caption.abstained}" if caption.abstained else f"concepts: {concepts or 'none'}"
            print(f"  {note}", file=sys.stderr)
        failed += bool(caption.error)
    if failed:
        raise InputError(f"{failed} of {len(paths)} images could not be read")


def _word_scores(captioner: Any, caption: Any) -> dict[str, float]:
    """What the classifier of words reads in the caption alone, by code; nothing of an export, or without concepts."""
    return {} if caption.word_scores is None else dict(zip(captioner.concepts, caption.word_scores.tolist()))


def _caption_json(caption: Any, word_scores: Mapping[str, float], novel_from: float) -> dict[str, Any]:
    from medcap_tf.explain.regions import word_regions

    if caption.error:
        return {"path": str(caption.path), "error": caption.error}
    return {
        "path": str(caption.path),
        "caption": caption.text,
        "abstained": caption.abstained or None,
        "score": None if caption.abstained else caption.score,
        "confidence": caption.confidence,
        "novelty": caption.novelty,
        "unlike_training": None if caption.novelty is None else caption.is_novel(novel_from),
        "words": caption.words,
        "stems": caption.stems,
        "regions": word_regions(caption.word_maps) if caption.words else [],
        "word_importance": None if caption.word_importance is None else caption.word_importance.tolist(),
        "concepts": [
            {
                "code": code,
                "name": caption.concept_names.get(code, ""),
                "score": score,
                "word_score": word_scores.get(code),
            }
            for code, score in caption.concepts
        ],
    }
