"""A network namespace with loopback alone: Ray listens on every interface that it sees."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT

PORT = 6379


class Namespace:
    """Processes inside it, and Ray nodes."""

    def __init__(self, name):
        self.name = name
        self.scratch = Path(tempfile.mkdtemp(prefix="mc", dir="/tmp"))  # paths of sockets have to be short
        self.started = []
        self._environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(self.scratch),
            "PYTHONPATH": str(ROOT),
        }

    def start(self, *arguments, **environment):
        """Start `python ARGUMENTS` inside; what it prints goes to a file named by the process."""
        command = ["ip", "netns", "exec", self.name, sys.executable, *map(str, arguments)]
        settings = {**self._environment, **environment}
        path = self.scratch / f"{time.monotonic_ns()}.log"
        with open(path, "w") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=settings)
        process.log = path
        self.started.append(process)
        return process

    def run(self, *arguments, **environment):
        """The same, to its end; returns what it printed."""
        process = self.start(*arguments, **environment)
        assert process.wait(300) == 0, process.log.read_text()[-3000:]
        return process.log.read_text()

    def start_node(self, head, processors=1):
        """A Ray node of so many processors; returns its process, whose children the node is."""
        place = ["--head", f"--port={PORT}", "--include-dashboard=false"] if head else [f"--address=127.0.0.1:{PORT}"]
        options = [f"--num-cpus={processors}", "--node-ip-address=127.0.0.1", "--block", "--disable-usage-stats"]
        node = self.start("-m", "ray.scripts.scripts", "start", *place, *options)
        wait_for(lambda: "Ray runtime started" in node.log.read_text() or node.poll() is not None, "a Ray node")
        assert node.poll() is None, node.log.read_text()
        return node

    def processes(self):
        """Everything that runs inside."""
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True)
        return [int(line) for line in listed.stdout.split()]


def wait_for(happened, what, seconds=300):
    """Until a condition holds."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"no {what} within {seconds} s"
        time.sleep(0.1)


def kill_tree(process):
    """A process and all below it, at once."""
    import psutil

    own = psutil.Process(process.pid)
    for one in [own, *own.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait(30)


@contextmanager
def loopback_alone() -> Iterator[Namespace]:
    """A new namespace; skips where none can be made."""
    name = f"medcap-{os.getpid()}"
    if shutil.which("ip") is None or subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        pytest.skip("no network namespace can be made here (it needs root and iproute2): Ray would listen to others")
    namespace = Namespace(name)
    try:
        subprocess.run(["ip", "netns", "exec", name, "ip", "link", "set", "lo", "up"], check=True)
        yield namespace
    finally:
        for pid in namespace.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in namespace.started:
            process.wait()
        subprocess.run(["ip", "netns", "delete", name], check=True)
        shutil.rmtree(namespace.scratch, ignore_errors=True)
