"""Ray, started on this machine or found at an address, and whether it has what a job needs.

Ray runs whatever anybody sends it who can reach it: the one that is started here listens at 127.0.0.1 alone, and asks
for a token that nobody else on this machine knows.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from medcap_tf.errors import InputError

INSTALL = "pip install 'medcap_tf[cluster]'"
# By 0 Ray keeps to 127.0.0.1, which it would replace by the machine's own address; so it does on other systems.
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_LOCAL = ("localhost", "127.0.0.1", "::1")
_CONNECT_SECONDS = 5.0
_PATIENCE = 30.0  # seconds, for processors to become free


@dataclass(frozen=True)
class Resources:
    """What a job asks of Ray."""

    address: str | None = None  # HOST:PORT of a running cluster, or auto; None: Ray is started here
    workers: int | None = None  # None: as many as there is room for
    cpus_per_worker: int = 1
    gpus_per_worker: float = 0.0

    @property
    def of_worker(self) -> dict[str, float]:
        """As Ray's actors are asked for."""
        return {"num_cpus": self.cpus_per_worker, "num_gpus": self.gpus_per_worker}


def check_installed() -> None:
    """Raise InputError where Ray is not installed. It is not imported yet: it reads its environment as it is."""
    missing = [name for name in ("ray", "pyarrow", "fsspec") if find_spec(name) is None]
    if missing:
        raise InputError(f"medcap cluster needs Ray, and {missing[0]} is not installed: {INSTALL}")


@contextmanager
def connected(resources: Resources) -> Iterator[int]:
    """Ray for the length of the block, and the number of workers it has room for, at most those asked for.

    Raises:
        InputError: nobody answers at the address, or there is no room for a worker.
    """
    _set_environment(resources)
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if resources.address is None:
        # More workers than processors are allowed where they were asked for: they share them.
        wanted = (resources.workers or 0) * resources.cpus_per_worker
        options.update(include_dashboard=False, _node_ip_address="127.0.0.1", num_cpus=max(os.cpu_count() or 1, wanted))
    try:
        ray.init(resources.address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"--address {resources.address or 'of this machine'}: Ray does not answer ({reason})"
        ) from error
    try:
        yield _room(ray, resources)
    finally:
        ray.shutdown()


def _set_environment(resources: Resources) -> None:
    """Ray reads it when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report its use to its makers
    # Ray would point out that it leaves the GPUs visible to actors without one; ours hide them themselves.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if resources.address:
        _check_reachable(resources.address)
        return
    os.environ[_LOOPBACK] = "0"
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    os.environ.pop("RAY_ADDRESS", None)


def _check_reachable(address: str) -> None:
    """Ray itself would try for ten minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto" or not host or not port.isdigit():
        return
    if host.strip("[]") in _LOCAL:
        os.environ[_LOOPBACK] = "0"
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"--address {address}: nobody answers there ({error.strerror or error}); `ray start --head` prints the "
            "address of a cluster, and its port has to be open to this machine"
        ) from error


def _room(ray: Any, resources: Resources, patience: float = _PATIENCE) -> int:
    """How many workers fit; an actor that does not fit would wait for ever, without a word."""
    wanted, total = resources.workers or 1, ray.cluster_resources()
    until = time.monotonic() + patience
    # Those of a job that was killed are free again within seconds.
    while _fitting(ray.available_resources(), resources) < wanted <= _fitting(total, resources):
        if time.monotonic() > until:
            break
        time.sleep(1)
    free = ray.available_resources()
    fitting = _fitting(free, resources)
    if fitting < wanted:
        asked = f"{wanted} workers of {resources.cpus_per_worker} CPU"
        asked += f" and {resources.gpus_per_worker:g} GPU" if resources.gpus_per_worker else ""
        raise InputError(
            f"{asked} do not fit: {free.get('CPU', 0):g} of {total.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} of "
            f"{total.get('GPU', 0):g} GPUs are free; end other jobs on this cluster (`ray list actors` names them), "
            "add a machine by `ray start --address`, or ask for less by --workers, --cpus-per-worker and "
            "--gpus-per-worker"
        )
    if total.get("GPU") and not resources.gpus_per_worker:
        print(f"{total['GPU']:g} GPUs stay unused: give each worker one by --gpus-per-worker 1", file=sys.stderr)
    return resources.workers or fitting


def _fitting(available: Mapping[str, float], resources: Resources) -> int:
    fitting = int(available.get("CPU", 0) // resources.cpus_per_worker)
    if resources.gpus_per_worker:
        fitting = min(fitting, int(available.get("GPU", 0) / resources.gpus_per_worker + 1e-9))
    return fitting
