"""What lies beside the versions for programs: the server's configuration and the signatures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
