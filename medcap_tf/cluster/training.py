"""Training by many machines: Ray Train finds them, starts `medcap train` on each, and again where one has gone.

The processes of the training are not Ray's own: each is the command as anybody would give it, with `TF_CONFIG` in its
environment, so that signals, exit codes and files are those of `medcap train`; Ray runs code in a thread, where Python
takes no signals.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import medcap_tf
from medcap_tf.cluster.engine import Resources, connected
from medcap_tf.errors import InputError

REFUSED = (1, 2)  # exit codes of a command that would be refused again
_LOOK_SECONDS = 0.5
_SET_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG


def train_together(arguments: Sequence[str], run: Path, resources: Resources, max_failures: int) -> None:
    """Train until the run is finished.

    Args:
        arguments: of `medcap train`.
        run: the run folder, the same on all machines.
        resources: how many workers, with how much each; their number has to be known.
        max_failures: how often the group is started again.

    Raises:
        InputError: what the workers refuse, or more failures than that.
    """
    with connected(resources) as workers:
        logs = run.resolve() / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.tensorflow import TensorflowTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError

        gpus, now = resources.gpus_per_worker, time.time_ns()
        own = {"CPU": resources.cpus_per_worker, **({"GPU": gpus} if gpus else {})}
        messages, refusal = logs / f"together-{now}.log", logs / f"refused-{now}"
        trainer = TensorflowTrainer(
            work,
            train_loop_config={
                "arguments": [*map(str, arguments)],
                "messages": str(messages),
                "refusal": str(refusal),
            },
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=bool(gpus), resources_per_worker=own),
            run_config=RunConfig(name=f"ray-{now}", storage_path=str(logs), failure_config=FailureConfig(max_failures)),
        )
        try:
            with _followed(messages):
                trainer.fit()
        except TrainingFailedError as error:
            raise InputError(_told(refusal, error, run)) from error
        finally:
            refusal.unlink(missing_ok=True)
            shutil.rmtree(logs / f"ray-{now}", ignore_errors=True)


@contextmanager
def _followed(messages: Path) -> Iterator[None]:
    """Print what is added to a file, for the length of the block."""
    ended = threading.Event()

    def follow() -> None:
        messages.touch()
        with open(messages, encoding="utf-8", errors="replace") as file:
            while True:
                last = ended.wait(_LOOK_SECONDS)
                sys.stderr.write(file.read())
                sys.stderr.flush()
                if last:
                    return

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _told(refusal: Path, error: Exception, run: Path) -> str:
    if refusal.is_file():
        return refusal.read_text()
    last = str(error).strip().splitlines()[-1][:300]
    return f"{run}: too many workers were lost ({last}); give the same command with --resume to go on"


def work(config: dict[str, Any]) -> None:
    """One worker: the command, to its end."""
    refusal = Path(config["refusal"])
    if refusal.exists():
        raise InputError("refused before")  # Ray tries again, whatever it was
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    home = str(Path(medcap_tf.__file__).parents[1])
    settings = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    settings["PYTHONPATH"] = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "medcap_tf", "train", *config["arguments"]]
    process = subprocess.Popen(
        command, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=_die_with_parent
    )
    messages = Path(config["messages"])
    last = _pass_on(process, messages if index == 0 else Path(os.devnull))
    code = process.wait()
    if code in REFUSED:
        refusal.parent.mkdir(parents=True, exist_ok=True)
        refusal.write_text(last.removeprefix("error: "))
    if code:
        with open(messages, "a", encoding="utf-8") as file:
            file.write(f"worker {index + 1} ended with exit code {code}\n")
        raise RuntimeError(f"worker {index + 1} ended with exit code {code}: {last}")


def _pass_on(process: subprocess.Popen, messages: Path) -> str:
    """Append the messages of a process to a file, without its progress bars; returns the last."""
    last = ""
    assert process.stderr is not None  # it is piped
    with open(messages, "a", encoding="utf-8") as file:
        for line in process.stderr:
            text = line.decode(errors="replace").rstrip().rpartition("\r")[2].strip()
            if text and not text.endswith(("/s]", "/image]", "/batch]")):
                last = text
                file.write(f"{text}\n")
                file.flush()
    return last


def _die_with_parent() -> None:
    """A worker that Ray ends takes its process along (Linux: prctl(2))."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
