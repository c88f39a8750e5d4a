"""Commands in processes of their own, forked from one that has imported TensorFlow: seconds less for each.

TensorFlow starts no thread before it computes: a fork of a process that has only imported it is sound. (The threads
that OpenBLAS and jemalloc have by then know of forks.)
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SECONDS = 600
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["tests.preloaded"])


def run_forked(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """What `python ARGUMENTS` prints, and its exit code; ARGUMENTS begin with `-m MODULE` or a script's name."""
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder) / name for name in ("stdout", "stderr")]
        process = _FORKED.Process(target=_execute, args=(arguments, dict(os.environ), printed))
        process.start()
        process.join(_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, _SECONDS)
        stdout, stderr = (path.read_text("utf-8") for path in printed)
    return subprocess.CompletedProcess(arguments, process.exitcode, stdout, stderr)


def _execute(arguments: list[str], environment: dict[str, str], printed: list[Path]) -> None:
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate(printed, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
