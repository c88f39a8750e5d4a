"""A server on an export: TensorFlow Serving where it is installed, else its double."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medcap_tf.serving.client import connect
from medcap_tf.serving.request import Options

ROOT = Path(__file__).resolve().parents[2]


class Server(NamedTuple):
    """Where a server answers for the model `medcap`."""

    grpc: str
    rest: str

    def ask(self, signature, values, name="image_bytes"):
        """Run a signature; a list of bytes is sent as strings."""
        if isinstance(values, list):
            values = np.array(values, object)
        return connect(self.grpc, Options("medcap")).predict(signature, name, values)


@contextmanager
def serving(base, largest_batch=0):
    """Serve a model folder for as long as the block lasts; with a limit on requests' rows the double does."""
    real = None if largest_batch else shutil.which("tensorflow_model_server")
    if real:
        ports = [free_port(), free_port()]
        command = [real, f"--port={ports[0]}", f"--rest_api_port={ports[1]}", "--model_name=medcap"]
        command += [f"--model_base_path={base}"]
    else:
        command = [sys.executable, "-m", "tests.serving.double", str(base), "--largest-batch", str(largest_batch)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if not real:
            words = process.stdout.readline().split()
            ports = [int(words[1]), int(words[3])]
        found = Server(f"grpc://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")
        wait_until_available(found.rest)
        yield found
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def wait_until_available(rest, seconds=120):
    """Until the model's health path says so."""
    for _ in range(seconds * 5):
        try:
            with urllib.request.urlopen(f"{rest}/v1/models/medcap", timeout=5) as answer:
                if b"AVAILABLE" in answer.read():
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"no server at {rest} after {seconds} s")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
