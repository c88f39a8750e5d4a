"""NVIDIA cards, their driver and CUDA's libraries, looked for where TensorFlow looks, and what to do where they fail.

Knows no TensorFlow: what that was built for, and how many cards it uses, is passed in.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# The first that runs programs of CUDA 12 (NVIDIA's CUDA compatibility guide, table of minor version compatibility).
OLDEST_DRIVER = "525.60.13"
# What TensorFlow 2.15 opens before it uses a card (its `dlopen_checker.cc`), and the wheel that brings it.
LIBRARIES = {
    "libcudart.so.12": "cuda-runtime",
    "libcublas.so.12": "cublas",
    "libcublasLt.so.12": "cublas",
    "libcufft.so.11": "cufft",
    "libcusolver.so.11": "cusolver",
    "libcusparse.so.12": "cusparse",
    "libcudnn.so.8": "cudnn",
}
INSTALL = "pip install -c constraints.txt -e '.[gpu]'"
PCI_BUS = Path("/sys/bus/pci/devices")
WHEELS = Path(sysconfig.get_path("purelib"), "nvidia")
_DRIVER_LIBRARY = "libcuda.so.1"
_NVIDIA = "0x10de"  # the vendor on the PCI bus
_DISPLAY = "0x03"  # the class of display controllers, 3D controllers among them
_FIELDS = ("name", "driver_version", "memory.total", "memory.free", "compute_cap")
_SECONDS = 30  # after which nvidia-smi hangs, as it does over a card that fell off its bus

# In a process of its own: what it opens would be what TensorFlow is given afterwards.
_PROBE = """
import ctypes, json, sys
found = {}
for name, places in json.loads(sys.argv[1]).items():
    try:
        library = ctypes.CDLL(places[0])
    except OSError as error:
        found[name] = {"path": places[0] if "/" in places[0] else "", "problem": str(error)}
        continue
    lines = [line.split() for line in open("/proc/self/maps")]
    stem = name.partition(".so")[0] + ".so"
    mapped = [line[5] for line in lines if len(line) > 5 and line[5].rpartition("/")[2].startswith(stem)]
    found[name] = {"path": mapped[-1] if mapped else places[0], "problem": ""}
    number = ctypes.c_int()
    for function in ("cudaRuntimeGetVersion", "cuDriverGetVersion"):
        if hasattr(library, function) and getattr(library, function)(ctypes.byref(number)) == 0:
            found[name]["version"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
    if hasattr(library, "cudnnGetVersion"):
        library.cudnnGetVersion.restype = ctypes.c_size_t
        number = library.cudnnGetVersion()
        found[name]["version"] = f"{number // 1000}.{number % 1000 // 100}.{number % 100}"
print(json.dumps(found))
"""


class Card(NamedTuple):
    """One card, as the driver tells of it; None: what it does not tell."""

    name: str
    total: int | None  # MiB
    free: int | None  # MiB
    capability: tuple[int, int] | None  # compute capability


class Driver(NamedTuple):
    """NVIDIA's driver and its cards."""

    version: str = ""
    cards: tuple[Card, ...] = ()
    problem: str = ""  # why it does not answer, and what to do; empty where it does, or where there is no card


class Library(NamedTuple):
    """One of the libraries that TensorFlow opens."""

    path: str  # empty where it was not found
    problem: str  # why it cannot be opened
    version: str = ""  # of those that tell theirs


class Build(NamedTuple):
    """What TensorFlow was built for, and what it sees."""

    tensorflow: str  # version
    cuda: str  # version; empty in a build for the CPU alone
    cudnn: str
    capabilities: tuple[str, ...]  # as in `sm_75` or `compute_80`
    used: int  # cards


class Report(NamedTuple):
    """What was found."""

    lines: list[str]
    remedy: str  # what to do; empty where TensorFlow uses the cards, or there are none


def examine(build: Build, bus: Path = PCI_BUS, wheels: Path = WHEELS) -> Report:
    """Look at cards, driver and libraries.

    Args:
        build: TensorFlow's side.
        bus: the folder of the machine's PCI devices, which tells of a card without a driver.
        wheels: where pip unpacks CUDA's libraries, among the packages of TensorFlow.
    """
    driver = read_driver(bus)
    if not driver.cards:
        return Report([driver.problem or "no NVIDIA card"], driver.problem)
    libraries = find_libraries(wheels)
    target = f"CUDA {build.cuda}, cuDNN {build.cudnn}" if build.cuda else "CPUs alone"
    lines = [
        f"driver {driver.version}{_cuda(libraries.get(_DRIVER_LIBRARY))}; {OLDEST_DRIVER} or later is needed",
        *(f"GPU {i}: {_described(card, build)}" for i, card in enumerate(driver.cards)),
        *_library_lines(libraries),
        f"TensorFlow {build.tensorflow}, built for {target}, uses {build.used} of {len(driver.cards)} "
        f"GPU{'s' if len(driver.cards) > 1 else ''}",
    ]
    return Report(lines, "" if build.used else remedy(driver, libraries, build))


def read_driver(bus: Path = PCI_BUS) -> Driver:
    """What `nvidia-smi` tells; without it, whether the PCI bus has a card."""
    program = shutil.which("nvidia-smi")
    if program is None:
        hint = "install NVIDIA's driver, or begin the container with its cards (docker run --gpus all)"
        return Driver(problem=f"the machine has an NVIDIA card and no nvidia-smi: {hint}" if _has_card(bus) else "")
    text, problem = _query(program, _FIELDS)
    if "compute_cap" in problem:  # drivers before 470 do not know the field
        text, problem = _query(program, _FIELDS[:-1])
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]
    rows = [row for row in rows if len(row) >= len(_FIELDS) - 1]
    if problem or not rows:
        if "no devices" in f"{text} {problem}".lower():
            return Driver()
        hint = "restart the machine, or install the driver again"
        return Driver(problem=f"nvidia-smi does not answer ({problem or 'it lists no card'}): {hint}")
    return Driver(rows[0][1], tuple(map(_card, rows)))


def _query(program: str, fields: Sequence[str]) -> tuple[str, str]:
    """What nvidia-smi prints, and its complaint where it fails."""
    command = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    complaint = " ".join((done.stderr or done.stdout).split())
    return (done.stdout, "") if not done.returncode else ("", complaint or f"exit code {done.returncode}")


def _card(row: Sequence[str]) -> Card:
    # [N/A], where the driver does not tell.
    total, free = (int(cell) if cell.isdigit() else None for cell in row[2:4])
    major, _, minor = "".join(row[4:5]).partition(".")
    known = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
    return Card(row[0], total, free, known)


def _has_card(bus: Path) -> bool:
    def read(device: Path, name: str) -> str:
        try:
            return (device / name).read_text()
        except OSError:
            return ""

    devices = bus.glob("*") if bus.is_dir() else ()
    return any(read(d, "vendor").startswith(_NVIDIA) and read(d, "class").startswith(_DISPLAY) for d in devices)


def find_libraries(wheels: Path) -> dict[str, Library]:
    """The driver's library and those of LIBRARIES, by file name, in the loader's order for TensorFlow's own files:
    `LD_LIBRARY_PATH`, the wheels, then the system's folders."""
    own = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    places = {}
    for name in (_DRIVER_LIBRARY, *LIBRARIES):
        folders = [*map(Path, own), wheels / LIBRARIES.get(name, "none").replace("-", "_") / "lib"]
        places[name] = [*(str(folder / name) for folder in folders if (folder / name).exists()), name]
    command = [sys.executable, "-I", "-c", _PROBE, json.dumps(places)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:  # a library that ends the process that opens it
        return {name: Library("", f"opening CUDA's libraries fails: exit code {done.returncode}") for name in places}
    return {name: Library(**values) for name, values in json.loads(done.stdout).items()}


def _library_lines(libraries: Mapping[str, Library]) -> list[str]:
    runtime, cudnn = libraries["libcudart.so.12"], libraries["libcudnn.so.8"]
    absent = [
        f"{name}: {'cannot be opened' if library.path else 'missing'} ({library.problem}); {_bringer(name)}"
        for name, library in libraries.items()
        if library.problem
    ]
    versions = [
        f"{title} {library.version or 'of unknown version'} from {Path(library.path).parent}"
        for title, library in (("CUDA", runtime), ("cuDNN", cudnn))
        if not library.problem
    ]
    return [*(["; ".join(versions)] if versions else []), *absent]


def _bringer(name: str) -> str:
    return f"nvidia-{LIBRARIES[name]}-cu12 brings it" if name in LIBRARIES else "the driver brings it"


def _cuda(library: Library | None) -> str:
    return f" (CUDA {library.version})" if library and library.version else ""


def _described(card: Card, build: Build) -> str:
    memory = "memory unknown" if card.total is None else f"{card.free or 0:,} of {card.total:,} MiB free"
    if card.capability is None:
        return f"{card.name}, {memory}"
    capability = ".".join(map(str, card.capability))
    compiled = "" if runs_as_built(card.capability, build.capabilities) else (
        "; kernels are compiled on first use: minutes once, then they are cached"
    )  # fmt: skip
    return f"{card.name}, {memory}, compute capability {capability}: {precision([card.capability])}{compiled}"


def precision(capabilities: Sequence[tuple[int, int] | None]) -> str:
    """The Keras policy for cards that train together: half precision pays from 7.0 on, where tensor cores begin."""
    return "mixed_float16" if all(c is None or c >= (7, 0) for c in capabilities) else "float32"


def runs_as_built(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Whether code built for any of `built`, as in `sm_75` or `compute_80`, runs on a GPU without being compiled again:
    binaries run within their major version, from their minor version on."""
    versions = [divmod(int(name.rpartition("_")[2]), 10) for name in built]
    return any(major == capability[0] and minor <= capability[1] for major, minor in versions)


def remedy(driver: Driver, libraries: Mapping[str, Library], build: Build) -> str:
    """Why TensorFlow uses none of the cards, and what to do; the first cause that stands in the way."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    missing = [name for name in LIBRARIES if libraries[name].problem]
    oldest = min((int(name.rpartition("_")[2]) for name in build.capabilities), default=0)
    capabilities = [card.capability for card in driver.cards if card.capability]
    causes: dict[str, Any] = {
        "this TensorFlow is built without CUDA: remove tensorflow-cpu and install tensorflow==2.15.1": not build.cuda,
        f"CUDA_VISIBLE_DEVICES={visible!r} hides the cards: unset it": visible is not None
        and (not visible.strip() or visible.strip().startswith("-")),
        f"the driver {driver.version} is too old: install {OLDEST_DRIVER} or later": _older(driver.version),
        f"{_DRIVER_LIBRARY} of the driver is not found: install the driver for computing (in a container: "
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility)": libraries[_DRIVER_LIBRARY].problem,
        f"TensorFlow cannot open {', '.join(missing)}: {INSTALL}": missing,
        f"the card is older than this TensorFlow's kernels (compute capability {oldest // 10}.{oldest % 10}): use "
        "another": capabilities and max(capabilities) < divmod(oldest, 10),
    }
    unknown = (
        "driver and libraries are as they should be: run `medcap gpu --verbose` and read TensorFlow's own messages"
    )
    return next((text for text, holds in causes.items() if holds), unknown)


def _older(version: str) -> bool:
    parts = [[int(part) for part in text.split(".") if part.isdigit()] for text in (version, OLDEST_DRIVER)]
    return bool(parts[0]) and parts[0] < parts[1]
