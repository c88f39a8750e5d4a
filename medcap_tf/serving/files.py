"""What lies beside the versions: the server's configuration, the signatures for programs, the model card for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medcap_tf import __version__
from medcap_tf.config import Config
from medcap_tf.files import write_text

# A quarter of what a run reads: a server decodes several files at once, at up to 16 bytes a pixel.
MAX_PIXELS = 25_000_000
IMAGE = "tensorflow/serving:2.15.1"


def find_version(folder: Path) -> Path | None:
    """The version folder that a path means: itself, or the highest number in it; None where it is no export."""
    versions = [path for path in folder.glob("*/saved_model.pb") if path.parent.name.isdigit()]
    if (folder / "saved_model.pb").is_file():
        return folder
    return max((path.parent for path in versions), key=lambda path: int(path.name), default=None)


def write_server_files(base: Path, batch_sizes: Sequence[int]) -> None:
    """`models.config`, `batching.config`, `monitoring.config`, `compose.yaml`; paths are those inside the container,
    where the folder stands at /models/NAME wherever it lies outside."""
    name = base.name
    allowed = "\n".join(f"allowed_batch_sizes: {size}" for size in batch_sizes)
    write_text(
        base / "models.config",
        "model_config_list {\n  config {\n"
        f'    name: "{name}"\n    base_path: "/models/{name}"\n    model_platform: "tensorflow"\n'
        "    model_version_policy { latest { num_versions: 1 } }\n  }\n}\n",
    )
    write_text(
        base / "batching.config",
        f"max_batch_size {{ value: {batch_sizes[-1]} }}\nbatch_timeout_micros {{ value: 5000 }}\n"
        f"max_enqueued_batches {{ value: 100 }}\nnum_batch_threads {{ value: 4 }}\n{allowed}\n",
    )
    write_text(
        base / "monitoring.config",
        'prometheus_config {\n  enable: true\n  path: "/monitoring/prometheus/metrics"\n}\n',
    )
    services = _service(name, name, IMAGE) + _service(f"{name}-gpu", name, f"{IMAGE}-gpu", gpu=True)
    write_text(base / "compose.yaml", f"services:\n{services}")


def start_command(base: Path) -> str:
    """How the server is started."""
    return f"docker compose -f {base / 'compose.yaml'} up {base.name}"


def _service(service: str, name: str, image: str, gpu: bool = False) -> str:
    flags = [
        f"--model_config_file=/models/{name}/models.config",
        "--enable_batching=true",
        f"--batching_parameters_file=/models/{name}/batching.config",
        f"--monitoring_config_file=/models/{name}/monitoring.config",
    ]
    lines = [
        f"  {service}:",
        f"    image: {image}",
        # The server's REST parser is not made for strangers: whoever opens it to others does so knowingly.
        '    ports: ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]',
        f'    volumes: [".:/models/{name}:ro"]',
        "    command:",
        *(f"      - {flag}" for flag in flags),
    ]
    if gpu:
        lines += [
            "    profiles: [gpu]",
            "    deploy:",
            "      resources:",
            "        reservations:",
            "          devices: [{driver: nvidia, count: 1, capabilities: [gpu]}]",
        ]
    return "\n".join(lines) + "\n"


def write_signatures(base: Path, version: int, signatures: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """`signatures.json`: names, types and shapes (null: any) of what each signature takes and gives."""
    described = {
        name: {
            side: {key: {"dtype": dtype, "shape": shape} for key, (dtype, shape) in tensors.items()}
            for side, tensors in signature.items()
        }
        for name, signature in signatures.items()
    }
    values = {"model": base.name, "version": version, **facts, "signatures": described}
    write_text(base / "signatures.json", json.dumps(values, indent=2) + "\n")


def write_model_card(
    base: Path, version: int, run: Path, config: Config, facts: Mapping[str, Any], scores: Mapping[str, Any]
) -> None:
    """`model_card.md`: data, scores beside the baselines, intended use, limits."""
    visual, decoding = config.visual, config.decoding
    lines = [
        f"# {base.name}, version {version}",
        "",
        "Captions medical images and gives the reasons: regions of each word, weights of the words, concepts.",
        "**Software for research, not a medical device.** Its captions are not findings.",
        "",
        f"Written by medcap_tf {__version__} from the run `{run.name}`.",
        "",
        "## Data",
        "",
        f"Trained on the folder `{facts['data']}`: {facts['tokens']} words, {facts['concepts']} concepts.",
        "",
        "## Scores",
        "",
        *_score_table(scores),
        "",
        "The baselines: the most frequent words without a look at the image, and the caption of the nearest training",
        "image. A model that does not beat both has little to say.",
        "",
        "## How it decides",
        "",
        f"ResNet50 up to {visual.layer} at {visual.image_size} x {visual.image_size} pixels, {facts['precision']}; "
        f"beam search of width {decoding.beam_width}, at most {decoding.max_length} tokens"
        + (f", none of whose sequences of {n} occurs twice." if (n := decoding.no_repeat_ngram) else "."),
        f"On {facts['compared']} validation images it generates the run's own caption for {facts['equal']}."
        if facts["compared"]
        else "Its captions were not compared with the run's own: no validation images were at hand.",
        "",
        "## Intended use",
        "",
        "Research on captioning and its explanation, on images like those it was trained on.",
        "",
        "## Limits",
        "",
        "- It answers every readable image, a photograph of a cat too, and does not say when it is out of its depth.",
        "- It knows no word and no concept that its training data did not show often enough.",
        "- Images are squashed to a square; what is smaller than a pixel then is gone.",
        "- Attention shows where the model looked, not that it was right.",
        *_of_similar_images(facts),
        "- JPEG, PNG, BMP and GIF (first frame) of at most "
        f"{facts['max_pixels']:,} pixels are read by the graph; the package's clients convert other kinds before they",
        "  send them. What cannot be read is answered as not valid.",
        "",
    ]
    write_text(base / "model_card.md", "\n".join(lines))


def _of_similar_images(facts: Mapping[str, Any]) -> list[str]:
    if not facts["neighbors"]:
        return []
    return [
        f"- The captions of the {facts['neighbors']} most similar training images count in each word: it may be "
        "copied from one.",
        "  This folder holds all training captions: whoever may not see those may not have it.",
    ]


def _score_table(scores: Mapping[str, Any]) -> list[str]:
    methods = [name for name in ("model", "popular_words", "nearest_image") if name in scores]
    if not methods:
        return ["The run has no scores: it had no test split."]
    head = [f"Split `{scores['split']}`, {scores['images']} images.", "", f"| | {' | '.join(methods)} |"]
    rows = [
        f"| {metric} | " + " | ".join(f"{scores[method][metric]:.4f}" for method in methods) + " |"
        for metric in scores["model"]
    ]
    return [*head, "|---" * (len(methods) + 1) + "|", *rows]
