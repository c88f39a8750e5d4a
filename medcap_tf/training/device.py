"""What a training runs on: devices, precision, determinism."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from medcap_tf.config import TrainingConfig


class Device(NamedTuple):
    """Where and how the loop computes."""

    strategy: tf.distribute.Strategy
    precision: str  # Keras policy of semantic encoder and decoder
    encoder_precision: str  # Keras policy of the visual encoder
    description: str  # one line for people


def prepare_device(config: TrainingConfig) -> Device:
    """Seed everything, let GPU memory grow, and choose the strategy and the precision.

    On GPUs mixed precision is the default; on a CPU with bfloat16 instructions the encoder alone uses it, where nearly
    all of the time goes.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    precision, encoder_precision = _precisions(config.precision, gpus)
    names = ", ".join(map(_described, gpus))
    hardware = f"{len(gpus)} GPU ({names})" if gpus else f"no GPU, {os.cpu_count()} CPU cores"
    kind = "MirroredStrategy" if len(gpus) > 1 else "one device"
    return Device(
        strategy,
        precision,
        encoder_precision,
        f"TensorFlow {tf.__version__}: {hardware}; {kind}; encoder in {encoder_precision}, the rest in {precision}; "
        f"XLA {'for the visual stage' if config.xla else 'off'}; "
        f"{'deterministic, ' if config.deterministic else ''}seed {config.seed}",
    )


def _described(gpu: Any) -> str:
    details = tf.config.experimental.get_device_details(gpu)
    name, capability = details.get("device_name", "GPU"), details.get("compute_capability", (0, 0))
    if runs_as_built(capability, tf.sysconfig.get_build_info().get("cuda_compute_capabilities", [])):
        return name
    return f"{name}, for which kernels are compiled on first use: minutes once, then they are cached"


def runs_as_built(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Whether code built for any of `built`, as in `sm_75` or `compute_80`, runs on a GPU without being compiled again:
    binaries run within their major version, from their minor version on."""
    versions = [divmod(int(name.rpartition("_")[2]), 10) for name in built]
    return any(major == capability[0] and minor <= capability[1] for major, minor in versions)


def _precisions(wanted: str, gpus: list) -> tuple[str, str]:
    if wanted != "auto":
        return wanted, wanted
    if gpus:
        return "mixed_float16", "mixed_float16"
    return "float32", "mixed_bfloat16" if _cpu_has_bfloat16() else "float32"


def _cpu_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
