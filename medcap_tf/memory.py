"""Memory: how much is free, how much was taken, and which setting to lower where it did not suffice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from medcap_tf.errors import InputError

_SIGNS = ("OOM", "out of memory", "ALLOC_FAILED", "failed to allocate")  # of TensorFlow, CUDA, cuDNN and cuBLAS
_CONTROL_GROUPS = (  # limit and use of a container, of both versions
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@contextlib.contextmanager
def naming_settings(doing: str, settings: Sequence[str]) -> Iterator[None]:
    """Say which settings to lower where a block runs out of memory.

    Args:
        doing: what the block does, for the message.
        settings: each with its value, the one that helps most first.

    Raises:
        InputError: memory did not suffice.
    """
    try:
        yield
    except (MemoryError, Exception) as error:  # TensorFlow's errors without importing it
        if isinstance(error, InputError) and not isinstance(error, MemoryError):
            raise
        text = f"{type(error).__name__} {error}"
        exhausted = isinstance(error, MemoryError) or "ResourceExhausted" in text
        if not exhausted and not any(sign in text for sign in _SIGNS):
            raise
        tensor = text.partition("shape")[2].partition("]")[0]
        what = f" for a tensor of shape {tensor}]" if tensor.startswith("[") else ""
        first, *others = settings
        more = f", or {', or '.join(others)}" if others else ""
        raise InputError(
            f"{doing}: out of memory{what}; lower {first}{more}. docs/gpu.md says what each takes"
        ) from error


def free_megabytes() -> float:
    """MB of the machine's memory, or of the container's, that are free."""
    values = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(values["MemAvailable"].split()[0]) / 1024
    for limit, use in _CONTROL_GROUPS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
            free = min(free, (int(Path(limit).read_text()) - int(Path(use).read_text())) / 2**20)
    return free


def reset_peak() -> None:
    """Let the kernel count this process' peak from here on."""
    with contextlib.suppress(OSError):  # the peak is then that of the process so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> float:
    """MB that this process took at most since `reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
