"""What a training runs on: devices, precision, determinism."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from medcap_tf import gpu
from medcap_tf.config import TrainingConfig
from medcap_tf.training.workers import Workers, find_workers


class Device(NamedTuple):
    """Where and how the loop computes."""

    strategy: tf.distribute.Strategy
    precision: str  # Keras policy of semantic encoder and decoder
    encoder_precision: str  # Keras policy of the visual encoder
    description: str  # one line for people
    gpus: gpu.Report = gpu.Report([], "")  # NVIDIA cards, driver, libraries, and what keeps TensorFlow from them
    process: int = 0  # which this is of those that train together, from 0 on
    processes: int = 1
    compiles_updates: bool = False  # whether XLA makes one kernel of what the optimizer does to hundreds of variables

    @property
    def workers(self) -> Workers:
        """The processes that train together."""
        return Workers(self.strategy, self.process, self.processes)


def prepare_device(config: TrainingConfig) -> Device:
    """Seed everything, let GPU memory grow, and choose the strategy and the precision.

    On GPUs with tensor cores mixed precision is the default; on a CPU with bfloat16 instructions the encoder alone uses
    it, where nearly all of the time goes.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    for one in gpus:
        tf.config.experimental.set_memory_growth(one, True)
    several = find_workers()
    if several:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()  # waits for the others
    else:
        strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    precision, encoder_precision = _precisions(config.precision, gpus)
    hardware = f"{len(gpus)} GPU" if gpus else f"no GPU, {os.cpu_count()} CPU cores"
    kind = "MirroredStrategy" if len(gpus) > 1 else "one device"
    kind = f"worker {several[0] + 1} of {several[1]}" if several else kind
    return Device(
        strategy,
        precision,
        encoder_precision,
        f"TensorFlow {tf.__version__}: {hardware}; {kind}; encoder in {encoder_precision}, the rest in {precision}; "
        f"XLA {'on' if config.xla else 'off'}; "
        f"{'deterministic, ' if config.deterministic else ''}seed {config.seed}",
        examine_gpus(),
        *(several or (0, 1)),
        compiles_updates=len(gpus) == 1 and not several and not config.deterministic,
    )


def examine_gpus() -> gpu.Report:
    """NVIDIA's cards, driver and libraries beside what TensorFlow was built for and sees."""
    built = tf.sysconfig.get_build_info()
    used = len(tf.config.list_physical_devices("GPU"))
    cuda, cudnn = (built.get(name, "") if built["is_cuda_build"] else "" for name in ("cuda_version", "cudnn_version"))
    capabilities = tuple(built.get("cuda_compute_capabilities", ()))
    return gpu.examine(gpu.Build(tf.__version__, cuda, cudnn, capabilities, used))


def _precisions(wanted: str, gpus: list) -> tuple[str, str]:
    if wanted != "auto":
        return wanted, wanted
    if gpus:
        capabilities = [tf.config.experimental.get_device_details(one).get("compute_capability") for one in gpus]
        return (gpu.precision(capabilities),) * 2
    return "float32", "mixed_bfloat16" if _cpu_has_bfloat16() else "float32"


def _cpu_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
