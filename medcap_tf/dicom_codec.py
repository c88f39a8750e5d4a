"""DICOM pixel data to stored values. JPEG, JPEG-LS and JPEG 2000 are decoded in a process of their own.

GDCM ends the whole process on some broken streams, and turns over others without end: a server or a training would go
with it. The process starts with the first such file, decodes one frame at a time, and is started anew where it died.
"""

from __future__ import annotations

import atexit
import importlib
import os
import pickle
import subprocess
import sys
import threading
from typing import Any

import numpy as np

SECONDS = 60  # for one frame
EXTENDED, LOSSLESS = "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57"
KEYWORDS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)


def decode_frame(dataset: Any, index: int, **options: Any) -> tuple[np.ndarray, str]:
    """Frame number `index`, [H, W] or [H, W, samples], and its color space, by pydicom in this process."""
    try:
        get_decoder = importlib.import_module("pydicom.pixels").get_decoder
    except ImportError:  # pydicom 2, the last for Python 3.9
        frames = dataset.pixel_array
        return (frames[index] if dataset.NumberOfFrames > 1 else frames), str(dataset.PhotometricInterpretation)
    frame, properties = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(
        dataset, index=index, raw=True, **options
    )
    color_space = properties["photometric_interpretation"]
    return frame, str(getattr(color_space, "value", color_space))


def decode_frame_apart(dataset: Any, index: int) -> tuple[np.ndarray, str]:
    """The same in the process for codecs; ValueError where it cannot, died over it or took more than SECONDS."""
    from pydicom.dataset import Dataset

    bare = Dataset()
    for keyword in KEYWORDS:
        if keyword in dataset:
            bare.add(dataset[keyword])
    bare.file_meta = dataset.file_meta
    if bare.file_meta.TransferSyntaxUID == EXTENDED and dataset.BitsStored > 8:
        # pydicom 3 refuses it, but GDCM has one codec for all JPEG, which goes by what the stream says.
        bare.file_meta.TransferSyntaxUID = type(bare.file_meta.TransferSyntaxUID)(LOSSLESS)
    answer = _process.ask((bare, index))
    if isinstance(answer, str):
        raise ValueError(answer)
    return answer


class _Process:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.child: subprocess.Popen[bytes] | None = None

    def ask(self, question: Any) -> Any:
        """The child's answer; a text says why there is none."""
        with self.lock:
            if self.child is None or self.child.poll() is not None:
                self.child = self._start()
            child = self.child
            timer = threading.Timer(SECONDS, child.kill)
            timer.start()
            try:
                assert child.stdin and child.stdout
                pickle.dump(question, child.stdin)
                child.stdin.flush()
                return pickle.load(child.stdout)
            except (OSError, EOFError, pickle.UnpicklingError):
                self._end()
                return "the decoder broke down over it"
            finally:
                timer.cancel()

    def close(self) -> None:
        with self.lock:
            self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-W", "ignore", "-m", "medcap_tf.dicom_codec"]
        # What the codecs print about broken streams would mix with the caller's own.
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, env=environment)

    def _end(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.communicate()
            self.child = None


_process = _Process()
atexit.register(_process.close)


def _forget_process() -> None:
    """A forked child must not talk into its parent's pipe."""
    global _process
    _process = _Process()


os.register_at_fork(after_in_child=_forget_process)


def _serve() -> None:
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec prints is no answer
    while True:
        try:
            dataset, index = pickle.load(questions)
        except EOFError:
            return
        try:
            answer: Any = decode_frame(dataset, index)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
