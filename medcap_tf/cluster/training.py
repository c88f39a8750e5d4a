"""Training by many machines: Ray Train finds them, starts `medcap train` on each, and again where one has gone.

The processes of the training are not Ray's own: each is the command as anybody would give it, with `TF_CONFIG` in its
environment, so that signals, exit codes and files are those of `medcap train`; Ray runs code in a thread, where Python
takes no signals.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import medcap_tf
from medcap_tf.cluster.engine import Resources, connected
from medcap_tf.errors import InputError

REFUSED = (1, 2)  # exit codes of a command that would be refused again
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
    with connected(resources, show_logs=True) as workers:
        run.mkdir(parents=True, exist_ok=True)
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.tensorflow import TensorflowTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError

        own = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
        refusal = run / "logs" / f"refused-{time.time_ns()}"
        trainer = TensorflowTrainer(
            work,
            train_loop_config={"arguments": [*map(str, arguments)], "refusal": str(refusal)},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=bool(own["GPU"]), resources_per_worker=own),
            run_config=RunConfig(
                name="ray", storage_path=str((run / "logs").resolve()), failure_config=FailureConfig(max_failures)
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise InputError(_told(refusal, error, run)) from error
        finally:
            refusal.unlink(missing_ok=True)


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
    last = _show(process, index == 0)
    code = process.wait()
    if code in REFUSED:
        refusal.parent.mkdir(parents=True, exist_ok=True)
        refusal.write_text(last.removeprefix("error: "))
    if code:
        raise RuntimeError(f"worker {index + 1} ended with exit code {code}: {last}")


def _show(process: subprocess.Popen, shown: bool) -> str:
    """Print the messages of a process, without progress bars, which Ray has no line for; returns the last."""
    last = ""
    assert process.stderr is not None  # it is piped
    for line in process.stderr:
        text = line.decode(errors="replace").rstrip().rpartition("\r")[2].strip()
        if text and not text.endswith(("/s]", "/image]", "/batch]")):
            last = text
            if shown:
                print(text, flush=True)
    return last


def _die_with_parent() -> None:
    """A worker that Ray ends takes its process along (Linux: prctl(2))."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
