"""Many clients at once on one server: is every answer right, and is memory flat?

`python benchmarks/clients.py --model served/medcap --images DIR` serves the export by the tests' double of TensorFlow
Serving (its protocols, on the loader that the server itself uses), asks for every image alone first, and then lets
--clients ask for --seconds, half of them over REST, for one to four images at a time in random order. Each answer must
be the one that its images got alone. Exits 1 where one is not, or where the server's memory grows.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medcap_tf.data.folders import find_files
from medcap_tf.errors import InputError
from medcap_tf.serving.client import Row, connect, in_batches
from medcap_tf.serving.request import Options
from medcap_tf.serving.upload import read_for_server

ROOT = Path(__file__).resolve().parents[1]
WITHIN = 1e-4  # of numbers; batches of other sizes are summed in another order
GROWTH = 0.05  # of the server's memory, from the second quarter of the time to the last
AT_MOST = 4  # images a request


class Load(NamedTuple):
    """What is asked, and what the answers should be."""

    urls: tuple[str, ...]
    files: list[bytes]
    expected: list[Row]
    seconds: float
    options: Options


class Tally(NamedTuple):
    """What one client saw."""

    seconds: list[float]  # one a request
    images: list[int]  # one a request
    wrong: list[str]


def main() -> None:
    """Print requests, errors, latencies and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="BASE", help="the folder that export.py wrote to")
    parser.add_argument("--images", type=Path, nargs="+", required=True, metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.double", str(args.model)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
    )  # fmt: skip
    try:
        ports = server.stdout.readline().split()
        urls = (f"grpc://127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[3]}")
        passed = measure(urls, server.pid, args)
    finally:
        server.stdin.close()
        server.terminate()
        server.wait()
    sys.exit(not passed)


def measure(urls: tuple[str, ...], pid: int, args: argparse.Namespace) -> bool:
    """Run the load and report it; whether all went well."""
    # A client at the end of the queue waits for all before it.
    options = Options(args.model.absolute().name, timeout=600)
    files = [read_for_server(path) for path in find_files(args.images)]
    expected = list(in_batches(connect(urls[0], options), "explain", files, 1))
    retrieved = sum(float(row["similar_weight"].sum()) > 0 for row in expected)
    print(f"{len(files)} images, {retrieved} of them with captions of similar images in the answer")
    load = Load(urls, files, expected, args.seconds, options)
    tallies = [Tally([], [], []) for _ in range(args.clients)]
    threads = [
        threading.Thread(target=ask, args=(load, number, args.seed, tally)) for number, tally in enumerate(tallies)
    ]
    for thread in threads:
        thread.start()
    memory = watch(pid, args.seconds)
    for thread in threads:
        thread.join()
    return report(tallies, memory) and retrieved > 0


def ask(load: Load, number: int, seed: int, tally: Tally) -> None:
    """One client, until the time is up."""
    draw = random.Random(seed * 100_003 + number)
    client = connect(load.urls[number % len(load.urls)], load.options)
    end = time.monotonic() + load.seconds
    while time.monotonic() < end:
        chosen = draw.choices(range(len(load.files)), k=draw.randint(1, AT_MOST))
        began = time.monotonic()
        try:
            rows = list(in_batches(client, "explain", [load.files[image] for image in chosen], AT_MOST))
        except InputError as error:
            tally.wrong.append(str(error))
            continue
        tally.seconds.append(time.monotonic() - began)
        tally.images.append(len(chosen))
        for image, row in zip(chosen, rows):
            tally.wrong.extend(f"image {image}: {name}" for name in differences(load.expected[image], row))


def differences(expected: Mapping[str, np.ndarray], row: Mapping[str, np.ndarray]) -> list[str]:
    """The names of what differs between two answers to one image."""
    if set(expected) != set(row):
        return sorted(set(expected) ^ set(row))
    return [name for name, value in expected.items() if not same(np.asarray(value), np.asarray(row[name]))]


def same(expected: np.ndarray, got: np.ndarray) -> bool:
    """Words to the letter, numbers up to WITHIN."""
    if expected.shape != got.shape:
        return False
    if expected.dtype.kind == "f":
        return bool(np.allclose(expected, got, rtol=WITHIN, atol=WITHIN))
    return bool(np.all(expected == got))


def watch(pid: int, seconds: float) -> list[float]:
    """The server's resident memory in MiB, twice a second."""
    memory, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        memory.append(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024)
        time.sleep(0.5)
    return memory


def report(tallies: Sequence[Tally], memory: Sequence[float]) -> bool:
    """Print the figures; whether every client was answered, rightly, and memory stayed flat."""
    waits = sorted(wait for tally in tallies for wait in tally.seconds)
    wrong = [text for tally in tallies for text in tally.wrong]
    unanswered = sum(not tally.seconds for tally in tallies)
    images = sum(sum(tally.images) for tally in tallies)
    quarter = max(1, len(memory) // 4)
    early, late = statistics.median(memory[quarter : 2 * quarter]), statistics.median(memory[-quarter:])
    print(
        f"{len(tallies)} clients, {len(waits)} requests, {images} images, {len(wrong)} wrong, {unanswered} unanswered"
    )
    print(f"seconds a request: median {waits[len(waits) // 2]:.2f}, 99% {waits[int(len(waits) * 0.99)]:.2f}")
    print(f"server's memory: {early:.0f} MiB in the second quarter, {late:.0f} MiB in the last")
    for text in wrong[:5]:
        print(f"wrong: {text}")
    return not wrong and not unanswered and late <= early * (1 + GROWTH)


if __name__ == "__main__":
    main()
