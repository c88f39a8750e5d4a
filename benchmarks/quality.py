"""Captioners and their rivals on one data set, in one command: `python benchmarks/quality.py --data DIR --out DIR`.

Every method is a folder of OUT with `valid` and `test`, each holding `predictions.csv` and `scores.json`; trained ones
are run folders. What is finished is not done again, and a training that was interrupted goes on, so the command may be
stopped and repeated at any time, and a second one beside it may do other rows (`--only`). At the end `results.csv` and
`results.md` compare all that is there.

One encoder is trained first (OUT/encoder, with a captioner of its own); trained rows start from it and its concepts
(`visual.weights=OUT/encoder`), so that they differ in the captioner alone. Short rows train an encoder of their own for
a few epochs, all for the same number, and tell what its choices give. The transformer trains its own for as long as the
encoder's run took, or as told. Minutes are wall-clock time of each row, without the encoder's.
"""

from __future__ import annotations

import argparse
import csv
import functools
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import baselines
import numpy as np

from medcap_tf.caption import Caption
from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.datastore import Datastore
from medcap_tf.data.images import read_image
from medcap_tf.data.records import read_dataset
from medcap_tf.data.tables import read_captions
from medcap_tf.evaluation.baselines import popular_concepts, popular_words, similarity
from medcap_tf.evaluation.metrics import caption_scores, caption_statistics, concept_f1, official_tokens
from medcap_tf.evaluation.neighbors import consensus
from medcap_tf.evaluation.score_files import write_predictions, write_scores
from medcap_tf.files import write_text
from medcap_tf.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
SPLITS = ("valid", "test")
ATTENTION = {"between_words": "attention between words", "between_images": "attention between images"}
SHOWN = {
    "valid": ("bleu_4", "cider", "concept_f1"),
    "test": (
        "bleu_1",
        "bleu_4",
        "rouge_l",
        "cider",
        "meteor",
        "imageclef_2021_bleu",
        "concept_f1",
        "distinct_captions",
        *ATTENTION.values(),
    ),
}
ENCODER = {
    "visual.weights": "none",
    "visual.image_size": 128,
    "visual.layer": "conv4_block6_out",
    "visual.concept_epochs": 20,
    "training.batch_size": 24,
    "training.weight_decay": 0.005,
    "training.epochs": 12,
    "text.min_count": 1,
}


SHORT = {
    **ENCODER,
    "visual.concept_epochs": 6,
    "training.epochs": 4,
    "semantic.epochs": 0,
    "decoder.semantic_source": "none",
}


class Row(NamedTuple):
    """A trained method: its settings beside those of its start, which is OUT/encoder unless it trains its own."""

    name: str
    title: str
    settings: Mapping[str, Any] = {}
    seeds: int = 1
    start: Mapping[str, Any] | None = None


TRAINED = (
    Row(
        "show_attend_tell",
        "Show, Attend and Tell (`decoder.semantic_source=none`)",
        {"decoder.semantic_source": "none"},
        3,
    ),
    Row("full", "full model (`decoder.semantic_source=prefix`)", {}, 3),
    Row(
        "oracle",
        "oracle that reads the reference (`decoder.semantic_source=reference`)",
        {"decoder.semantic_source": "reference"},
    ),
    Row("no_concept_start", "full, not started from the image's concepts", {"decoder.image_concepts": False}),
    Row(
        "larger",
        "full, its encoder trained 8 epochs more, at 160 pixels (10 x 10 regions)",
        {"visual.image_size": 160, "visual.concept_epochs": 8, "visual.concept_learning_rate": 5e-4},
    ),
    Row("short", "short: 6 epochs of concepts, 4 of captions, no semantic encoder", start=SHORT),
    Row("short_96", "short, 96 pixels (6 x 6 regions)", {"visual.image_size": 96}, start=SHORT),
    Row("short_160", "short, 160 pixels (10 x 10 regions)", {"visual.image_size": 160}, start=SHORT),
    Row("short_conv5", "short, the last layer (4 x 4 regions)", {"visual.layer": "conv5_block3_out"}, start=SHORT),
    Row("short_equalize", "short, histograms equalized", {"data.equalize": True}, start=SHORT),
    Row("short_vertical", "short, with vertical flips too", {"data.vertical_flip": True}, start=SHORT),
    Row(
        "short_no_augment",
        "short, without flips and crops",
        {"data.horizontal_flip": False, "data.crop": 1.0},
        start=SHORT,
    ),
    Row(
        "short_along",
        "short, the last stage goes on learning with the captions",
        {"visual.trainable": "last_stage"},
        start=SHORT,
    ),
    Row(
        "short_captions",
        "short, no concepts: the encoder learns from 6 epochs of captions",
        {"visual.concept_epochs": 0, "visual.trainable": "all", "training.epochs": 6},
        start=SHORT,
    ),
    Row(
        "short_random",
        "short, an encoder that has learned nothing",
        {"visual.concept_epochs": 0},
        start=SHORT,
    ),
)
# The first seed of the full model searched otherwise: options of `evaluate`.
DECODED = {
    "alone": ("full, decoder alone (no similar images)", ("--neighbors", "0")),
    "greedy": ("full, greedy", ("--beam-width", "1")),
    "beam_5": ("full, beam 5", ("--beam-width", "5")),
}
RIVALS = {
    "popular_words": "ten popular words, no image",
    "popular_shuffled": "the same, shuffled",
    "language_model": "GRU language model, no image",
    "nearest_image": "nearest training image",
    "consensus": "consensus of the 10 nearest training images",
    "placed_words": "words at their usual places (the 2021 winner's idea)",
}
TRANSFORMER = "ViT + GPT-2 of Hugging Face, from random weights"


class Study:
    """The folder that all methods lie in."""

    def __init__(self, data: Path, out: Path):
        self.data, self.out = data.resolve(), out.resolve()
        splits = read_dataset(self.data).splits
        self.known = [record.caption for record in splits["train"] if record.caption]
        self.splits = {split: [record for record in splits[split] if record.caption] for split in SPLITS}

    def minutes(self, name: str) -> float:
        """How long a method has taken so far."""
        path = self.out / name / "minutes.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else 0.0

    def train(self, name: str, settings: Mapping[str, Any]) -> None:
        """A run of `train.py`, which scores the test split, and its scores on the validation split."""
        run = self.out / name
        if not (run / "scores.json").is_file():
            values = {key: str(x).lower() if isinstance(x, bool) else x for key, x in settings.items()}
            flags = [f"{key}={value}" for key, value in values.items()]
            self._call(name, "train.py", "--data", self.data, "--out", run, "--resume", "--set", *flags)
        if settings.get("decoder.semantic_source") != "reference":  # an oracle cannot caption by itself
            self.evaluate(name, name, ("valid",))

    def evaluate(self, name: str, run: str, splits: Sequence[str] = SPLITS, options: Sequence[str] = ()) -> None:
        """`evaluate` a run on splits that have no scores yet, into the folder of another name."""
        for split in splits:
            folder = self.out / name / split
            if not (folder / "scores.json").is_file():
                where = ("--data", self.data, "--split", split, "--out", folder)
                self._call(name, "-m", "medcap_tf", "evaluate", self.out / run, *where, *options)

    def rivals(self) -> None:
        """The methods of `baselines.py`, on the encoder's features."""
        if all((self.out / name / split / "scores.json").is_file() for name in RIVALS for split in SPLITS):
            return
        began = time.monotonic()
        captioner = RunCaptioner.load(self.out / "encoder")
        datastore = Datastore.load(RunFolder(self.out / "encoder"))
        features = {split: pooled(captioner, records) for split, records in self.splits.items()}
        known = [record.caption for record in datastore.records]
        tokens = [official_tokens(caption) for caption in known]
        placed = baselines.PlacedWords(known, datastore.features)
        placed.tune(features["valid"], [record.caption for record in self.splits["valid"]])
        model = baselines.language_model(known, captioner.vocabulary)
        for split, records in self.splits.items():
            near = similarity(features[split], datastore.features)
            nearest = np.argsort(-near)[:, :10]
            copied = {"nearest_image": near.argmax(1), "consensus": consensus(nearest, tokens)}
            captions = {
                "popular_words": [popular_words(known)] * len(records),
                "popular_shuffled": baselines.popular_shuffled(known, len(records)),
                "language_model": [model] * len(records),
                "placed_words": placed.captions(features[split]),
                **{name: [known[row] for row in rows] for name, rows in copied.items()},
            }
            concepts: dict[str, list] = {
                name: [datastore.records[x].concepts for x in rows] for name, rows in copied.items()
            }
            concepts["popular_words"] = [popular_concepts(datastore.records)] * len(records)
            for name, texts in captions.items():
                self._score(name, split, texts, concepts.get(name))
        self._spent("rivals", began)

    def transformer(self, python: str, minutes: float | None) -> None:
        """`transformer.py`, for as long as the encoder's run took, its captioner included, or as told."""
        folder = self.out / "transformer"
        if (folder / "test" / "scores.json").is_file():
            return
        where = ("--data", self.data, "--out", folder, "--minutes", minutes or max(self.minutes("encoder"), 1))
        self._call("transformer", "benchmarks/transformer.py", *where, python=python)
        for split, records in self.splits.items():
            written = read_captions(folder / split / "predictions.csv").values
            self._score("transformer", split, [written.get(record.image_id, "") for record in records])

    def _call(self, name: str, *arguments: Any, python: str = sys.executable) -> None:
        began = time.monotonic()
        print(f"{time.strftime('%H:%M:%S')} {name}: {' '.join(map(str, arguments))}", flush=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        try:
            done = subprocess.run([python, *map(str, arguments)], cwd=ROOT, env=environment, check=False)
        finally:
            self._spent(name, began)
        if done.returncode:
            sys.exit(f"{name} failed; mend it and give the same command again")

    def _score(self, name: str, split: str, captions: Sequence[str], concepts: Sequence[Any] | None = None) -> None:
        """`predictions.csv` and `scores.json`, as `evaluate` writes them."""
        folder, records = self.out / name / split, self.splits[split]
        named = concepts or [()] * len(records)
        said = [
            Caption(record.image_path, tuple(text.split()), concepts=tuple((code, 1.0) for code in codes))
            for record, text, codes in zip(records, captions, named)
        ]
        scores = caption_scores([record.caption for record in records], captions)
        scores.update(caption_statistics(captions, self.known))
        if concepts is not None:
            scores["concept_f1"] = concept_f1([record.concepts for record in records], concepts)
        write_predictions(folder, records, said)
        write_scores(folder, {"split": split, "images": len(records), "model": scores})

    def _spent(self, name: str, began: float) -> None:
        # Of a training that was interrupted and went on, all parts count.
        spent = round(self.minutes(name) + (time.monotonic() - began) / 60, 2)
        write_text(self.out / name / "minutes.json", f"{spent}\n")


def pooled(captioner: Any, records: Sequence[Any]) -> np.ndarray:
    """Mean regions of the records' images: float32 [N, C]."""
    chunks = [records[start : start + 32] for start in range(0, len(records), 32)]
    pixels = (np.stack([captioner.prepare(read_image(record.image_path)) for record in chunk]) for chunk in chunks)
    return np.concatenate([captioner.pooled_features(batch) for batch in pixels])


def read_scores(out: Path, name: str, split: str) -> dict[str, float]:
    """A method's scores on a split; empty where it has none."""
    places = [out / name / split / "scores.json", out / name / "scores.json"]
    for path in places:
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["split"] == split:
                differs = {ATTENTION[pair]: value for pair, value in found.get("attention", {}).items()}
                return {**(found.get("model") or found["oracle"]), **differs}
    return {}


def write_tables(study: Study) -> None:
    """`results.csv`, a line a method, seed and split, and `results.md`, a line a method with mean and spread: first all
    that shares the encoder or has none to train, then the short rows."""
    short = {row.name: row.title for row in TRAINED if row.start is SHORT}
    long = {row.name: row.title for row in TRAINED if row.start is not SHORT}
    decoded = {name: title for name, (title, _) in DECODED.items()}
    titles = {**RIVALS, "transformer": TRANSFORMER, **long, **decoded}
    found = {
        name: {
            folder: {split: read_scores(study.out, folder, split) for split in SPLITS}
            for folder in _folders(study, name)
        }
        for name in (*titles, *short)
    }
    write_text(study.out / "results.md", f"{_markdown(study, titles, found)}\n{_markdown(study, short, found)}")
    rows = [
        {"method": folder, "split": split, **scores}
        for folders in found.values()
        for folder, splits in folders.items()
        for split, scores in splits.items()
        if scores
    ]
    with io.StringIO() as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(study.out / "results.csv", file.getvalue())


def _folders(study: Study, name: str) -> list[str]:
    """A method's folders: one a seed, or one."""
    return [path.name for path in sorted(study.out.glob(f"{name}_[0-9]"))] or [name]


def _markdown(study: Study, titles: Mapping[str, str], found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A table of those methods that have scores; `found`: by method, folder and split."""
    head = ["method", *(f"{split} {metric}" for split in SPLITS for metric in SHOWN[split]), "minutes"]
    lines = [f"| {' | '.join(head).replace('_', ' ')} |", "|---" * len(head) + "|"]
    for name, title in titles.items():
        folders = found[name]
        if any(scores for splits in folders.values() for scores in splits.values()):
            by_split = {split: [splits[split] for splits in folders.values()] for split in SPLITS}
            cells = [_cell([s[m] for s in by_split[split] if m in s]) for split in SPLITS for m in SHOWN[split]]
            minutes = sum(map(study.minutes, folders)) / len(folders)
            lines.append(f"| {title} | {' | '.join(cells)} | {f'{minutes:.0f}' if minutes else ''} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def main() -> None:
    """Do what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="these rows alone, after the encoder")
    parser.add_argument("--seeds", type=int, default=3, help="of the main rows (default: %(default)s)")
    parser.add_argument(
        "--torch-python", metavar="PYTHON", help="a Python with PyTorch and transformers; without it no transformer row"
    )
    parser.add_argument(
        "--transformer-minutes", type=float, metavar="M", help="of its training (default: what the encoder's run took)"
    )
    chosen = parser.parse_args()
    study = Study(chosen.data, chosen.out)
    study.train("encoder", ENCODER)
    for name, step in steps(study, chosen).items():
        if not chosen.only or name in chosen.only:
            step()
            write_tables(study)
    print((study.out / "results.md").read_text())


def steps(study: Study, chosen: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """What is to be done, by the name of the row."""
    found: dict[str, Callable[[], None]] = {"rivals": study.rivals}
    for row in TRAINED:
        found[row.name] = functools.partial(train_row, study, row, min(row.seeds, chosen.seeds))
    for name, (_, options) in DECODED.items():
        found[name] = functools.partial(study.evaluate, f"{name}_0", "full_0", options=options)
    if chosen.torch_python:
        found["transformer"] = functools.partial(study.transformer, chosen.torch_python, chosen.transformer_minutes)
    return found


def train_row(study: Study, row: Row, seeds: int) -> None:
    """Train a row's seeds, from the encoder and its concept head if the row has no start of its own."""
    from_encoder = {**ENCODER, "visual.weights": study.out / "encoder", "visual.concept_epochs": 0}
    for seed in range(seeds):
        study.train(f"{row.name}_{seed}", {**(row.start or from_encoder), **row.settings, "training.seed": seed})


if __name__ == "__main__":
    main()
