"""A run folder to a version that TensorFlow Serving can take, checked before it gets its number."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.records import Dataset, read_dataset
from medcap_tf.data.splits import choose_splits
from medcap_tf.errors import InputError
from medcap_tf.files import read_json
from medcap_tf.run_folder import RunFolder
from medcap_tf.serving.check import Request, compare, require_stock_ops
from medcap_tf.serving.files import MAX_PIXELS, start_command, write_server_files, write_signatures
from medcap_tf.serving.model_card import write_model_card
from medcap_tf.serving.module import ServedCaptioner
from medcap_tf.serving.protos import message_module
from medcap_tf.serving.upload import try_read
from medcap_tf.serving.warmup import BATCH_SIZES, write_warmup

_COMPARED = 100
_BATCH = 16
# How far the answers of two processes may lie apart, where the same graph is optimized twice.
_WITHIN = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}


@dataclass(frozen=True)
class Export:
    """What was written."""

    folder: Path  # BASE/VERSION
    compared: int  # validation images captioned by the run and by the export
    equal: int  # of those, the same captions
    command: str  # starts the server


class Samples(NamedTuple):
    """What of the run's data is at hand for checks."""

    captions: list[str]  # of the training split
    files: list[tuple[Path, bytes]]  # of the validation split, those that can be read, as a client sends them


def export(
    run: Path,
    base: Path,
    *,
    version: int | None = None,
    settings: Mapping[str, Any] | None = None,
    layers: Sequence[str] | None = None,
    precision: str = "float32",
) -> Export:
    """Write `base/VERSION/` atomically, and the server's configuration beside it.

    Args:
        run: a finished run folder.
        base: the model's folder; its name is the model's name.
        version: None: one more than the highest there is.
        settings: decoding options that differ from the run's.
        layers: what the signature `activations` shows.
        precision: type that the encoder computes in; the search stays in float32.

    Raises:
        InputError: no such run, a version that is taken, or an export that failed its checks; no version is left then.
    """
    run, base = Path(run), Path(base).absolute()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", base.name):
        raise InputError(f"--out {base}: its last part names the model; give letters, digits, '.', '_' or '-' alone")
    message_module("tensorflow_serving.apis.predict_pb2")  # said now, not after minutes
    captioner = RunCaptioner.load(run, dict(settings or {}))
    version = _free_version(base, version)
    folder = RunFolder(run)
    written = read_json(folder.config)
    data = written.get("data") or "unknown"
    samples = _samples(folder.data_folder(), captioner)
    scores = folder.read_scores()
    base.mkdir(parents=True, exist_ok=True)
    # A server that watches the folder looks at numbers only.
    beside = Path(tempfile.mkdtemp(prefix=".exporting-", dir=base))
    try:
        module, signatures = _save(captioner, beside, samples.captions, layers, precision)
        require_stock_ops(beside)
        write_warmup(beside, base.name, _warmup_inputs(captioner, samples), BATCH_SIZES)
        requests = _requests(captioner, samples)
        with _full_float32():
            answers = [_answer(signatures, request) for request in requests]
        _say(f"checking {len(requests)} requests through TensorFlow's C API")
        compare(beside, requests, answers, _WITHIN[precision])
        equal, compared = _agreement(captioner, signatures, samples.files)
        beside.chmod(0o755)
        os.rename(beside, base / str(version))
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    facts = {"precision": precision, "compared": compared, "equal": equal, "data": data}
    _describe(run, base, version, captioner, signatures, {**facts, "layers": list(module.layers)}, scores)
    write_server_files(base, BATCH_SIZES)
    return Export(base / str(version), compared, equal, start_command(base))


def _describe(
    run: Path,
    base: Path,
    version: int,
    captioner: RunCaptioner,
    signatures: Mapping[str, Any],
    facts: Mapping[str, Any],
    scores: Mapping[str, Any],
) -> None:
    """`signatures.json` and `model_card.md`."""
    config = captioner.config
    for_programs = {
        "image_size": config.visual.image_size,
        "precision": facts["precision"],
        "max_pixels": MAX_PIXELS,
        "beam_width": config.decoding.beam_width,
        "max_length": config.decoding.max_length,
        "no_repeat_ngram": config.decoding.no_repeat_ngram,
        "layers": facts["layers"],
        "concept_threshold": round(captioner.concept_threshold, 6),
    }
    write_signatures(base, version, {name: _described(call) for name, call in signatures.items()}, for_programs)
    counts = {"tokens": len(captioner.vocabulary), "concepts": len(captioner.concepts), "max_pixels": MAX_PIXELS}
    counts["neighbors"] = captioner.model.retriever.count if captioner.model.retriever else 0
    known = {**facts, **counts, "calibration": captioner.calibration}
    write_model_card(base, version, run, config, known, scores)


def _free_version(base: Path, wanted: int | None) -> int:
    taken = [int(path.name) for path in base.glob("*") if path.name.isdigit()] if base.is_dir() else []
    if wanted in taken:
        raise InputError(f"{base / str(wanted)}: this version exists; choose another --version, or none for the next")
    return wanted if wanted is not None else max(taken, default=0) + 1


def _samples(data: Path, captioner: RunCaptioner) -> Samples:
    try:
        dataset: Dataset = read_dataset(data)
        splits = choose_splits(dataset, captioner.config.data, captioner.config.training.seed)
    except InputError as error:
        _say(f"the run's data is not at hand ({error}): checks run on drawn images, captions are not compared")
        return Samples([], [])
    size = captioner.config.visual.image_size
    paths = (record.image_path for record in splits.valid if record.image_path is not None)
    files = ((path, content) for path in paths if isinstance(content := try_read(path, size), bytes))
    return Samples([record.caption for record in splits.train], list(itertools.islice(files, _COMPARED)))


@contextmanager
def _full_float32() -> Iterator[None]:
    """Without TensorFloat-32, in which GPUs since Ampere multiply float32: there the algorithm that cuDNN happens to
    choose decides the fourth digit, and two processes may choose differently."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _save(captioner: RunCaptioner, folder: Path, captions: Sequence[str], layers: Any, precision: str) -> Any:
    with tempfile.TemporaryDirectory() as tables:
        module = ServedCaptioner(captioner, Path(tables), captions, layers, precision)
        signatures = module.signatures()
        _say("writing the graph")
        tf.saved_model.save(module, str(folder), signatures=signatures)
    return module, signatures


def _images(samples: Samples) -> list[bytes]:
    """Three encoded images: the data's own, or noise."""
    if samples.files:
        return [content for _, content in (samples.files * 3)[:3]]
    noise = np.random.default_rng(0).integers(0, 256, (3, 90, 120, 3), np.uint8)
    return [tf.io.encode_png(noise[0]).numpy(), tf.io.encode_jpeg(noise[1]).numpy(), tf.io.encode_png(noise[2]).numpy()]


def _requests(captioner: RunCaptioner, samples: Samples) -> list[Request]:
    """Every signature on no row, one, and several with an unreadable one among them."""
    size = captioner.config.visual.image_size
    first, second, third = _images(samples)
    files = np.array([first, b"no image", second, third], object)
    noise = np.random.default_rng(1).uniform(0, 255, (3, size, size, 3)).astype(np.float32)
    texts = np.array([text.encode() for text in (*samples.captions[:2], "", "CT of the chest")], object)
    rows = {
        **dict.fromkeys(("serving_default", "explain", "activations"), ("image_bytes", files)),
        "image": ("image", noise),
        "text": ("caption", texts),
    }
    return [
        Request(signature, {name: array[:count]})
        for signature, (name, array) in rows.items()
        for count in (0, 1, len(array))
    ]


def _answer(signatures: Mapping[str, Any], request: Request) -> dict[str, np.ndarray]:
    outputs = signatures[request.signature](*(_tensor(array) for array in request.inputs.values()))
    return {name: value.numpy() for name, value in outputs.items()}


def _tensor(array: np.ndarray) -> tf.Tensor:
    return tf.constant(array.tolist(), tf.string, array.shape) if array.dtype == object else tf.constant(array)


def _warmup_inputs(captioner: RunCaptioner, samples: Samples) -> dict[str, tuple[str, np.ndarray]]:
    size = captioner.config.visual.image_size
    file = np.array(_images(samples)[:1], object)
    return {
        **dict.fromkeys(("serving_default", "explain", "activations"), ("image_bytes", file)),
        "image": ("image", np.full((1, size, size, 3), 128, np.float32)),
        "text": ("caption", np.array([b"CT of the chest"], object)),
    }


def _agreement(
    captioner: RunCaptioner, signatures: Mapping[str, Any], files: Sequence[tuple[Path, bytes]]
) -> tuple[int, int]:
    """Of how many images the export generates the run's own caption, and how many were compared."""
    if files:
        _say(f"captioning {len(files)} validation images by the run and by the export")
    own, served = list(captioner.caption([path for path, _ in files])), []
    for start in range(0, len(files), _BATCH):
        content = tf.constant([content for _, content in files[start : start + _BATCH]])
        served += [text.decode() for text in signatures["serving_default"](content)["caption"].numpy()]
    pairs = [(caption.text, text) for caption, text in zip(own, served) if not caption.error]
    return sum(ours == theirs for ours, theirs in pairs), len(pairs)


def _described(call: Any) -> dict[str, dict[str, tuple[str, list]]]:
    """Input and output names of a signature -> type and shape."""
    concrete = call.get_concrete_function()
    inputs = {spec.name: spec for spec in concrete.structured_input_signature[0]}
    outputs = concrete.structured_outputs
    return {
        side: {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in specs.items()}
        for side, specs in (("inputs", inputs), ("outputs", outputs))
    }


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
