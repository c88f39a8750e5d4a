"""What is said of NVIDIA cards, with an `nvidia-smi` and libraries made for the test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from medcap_tf import gpu
from tests.conftest import ROOT, run_command

BUILT = ("sm_50", "sm_60", "sm_70", "sm_75", "compute_80")  # TensorFlow 2.15.1 from PyPI
BUILD = gpu.Build("2.15.1", "12.2", "8", BUILT, used=0)
A100 = "NVIDIA A100-SXM4-40GB, 535.104.05, 40960, 39500, 8.0"
P100 = "Tesla P100-PCIE-16GB, 535.104.05, 16384, 16000, 6.0"


class Machine:
    """A machine whose driver tool and libraries the test chooses."""

    def __init__(self, folder, monkeypatch):
        self.bin, self.libraries, self.bus = folder / "bin", folder / "own", folder / "bus"
        self.wheels = folder / "nvidia"
        for made in (self.bin, self.libraries, self.bus):
            made.mkdir()
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setenv("LD_LIBRARY_PATH", str(self.libraries))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def says(self, text, code=0, when=""):
        """Let nvidia-smi print this; `when` is a shell condition for it, else it says that a field is unknown."""
        other = 'Field "compute_cap" is not a valid field to query.'
        body = f"cat <<'END'\n{text}\nEND\nexit {code}"
        program = self.bin / "nvidia-smi"
        cat = 'cat() { while IFS= read -r line; do echo "$line"; done; }\n'  # PATH holds nothing else
        lines = f"if {when}; then\n{body}\nfi\necho '{other}'; exit 2" if when else body
        program.write_text(f"#!/bin/sh\n{cat}{lines}\n")
        program.chmod(0o755)

    def install(self, *names, folder=None):
        """Libraries that can be opened: copies of a real one, under these names."""
        folder = folder or self.libraries
        folder.mkdir(parents=True, exist_ok=True)
        lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        real = next(line[5] for line in lines if len(line) > 5 and re.search(r"/libm[.-].*so", line[5]))
        for name in names:
            shutil.copy(real, folder / name)

    def report(self, build=BUILD):
        return gpu.examine(build, self.bus, self.wheels)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_a_machine_without_a_card_is_no_trouble(machine):
    assert machine.report() == gpu.Report(["no NVIDIA card"], "")
    machine.says("No devices were found", code=6)
    assert machine.report() == gpu.Report(["no NVIDIA card"], "")


def test_a_card_without_a_driver_is_seen_on_the_bus(machine):
    for name, vendor, kind in [("one", "0x8086", "0x030000"), ("two", "0x10de", "0x040300")]:  # a card's sound, too
        (machine.bus / name).mkdir()
        (machine.bus / name / "vendor").write_text(vendor + "\n")
        (machine.bus / name / "class").write_text(kind + "\n")
    assert machine.report().remedy == ""
    (machine.bus / "two" / "class").write_text("0x030200\n")
    assert "no nvidia-smi: install NVIDIA's driver" in machine.report().remedy


def test_a_driver_that_fails_is_quoted(machine):
    machine.says("Failed to initialize NVML: Driver/library version mismatch", code=18)
    assert machine.report().remedy == (
        "nvidia-smi does not answer (Failed to initialize NVML: Driver/library version mismatch): restart the machine, "
        "or install the driver again"
    )


def test_missing_libraries_are_named_with_their_packages(machine):
    machine.says(A100)
    machine.install("libcuda.so.1", *[name for name in gpu.LIBRARIES if "cudnn" not in name])
    report = machine.report()
    assert report.remedy == f"TensorFlow cannot open libcudnn.so.8: {gpu.INSTALL}"
    assert (
        "GPU 0: NVIDIA A100-SXM4-40GB, 39,500 of 40,960 MiB free, compute capability 8.0: mixed_float16" in report.lines
    )
    assert any(
        line.startswith("libcudnn.so.8: missing (") and line.endswith("; nvidia-cudnn-cu12 brings it")
        for line in report.lines
    )


def test_a_library_that_cannot_be_opened_is_not_called_missing(machine):
    machine.says(A100)
    machine.install("libcuda.so.1", *gpu.LIBRARIES)
    (machine.libraries / "libcufft.so.11").write_bytes(b"cut off")
    report = machine.report()
    assert report.remedy.startswith("TensorFlow cannot open libcufft.so.11: ")
    (line,) = [line for line in report.lines if line.startswith("libcufft")]
    assert "cannot be opened" in line and str(machine.libraries / "libcufft.so.11") in line


def test_libraries_are_looked_for_in_the_loaders_order(machine):
    wheel = machine.wheels / "cudnn" / "lib"
    machine.install("libcudnn.so.8", folder=wheel)
    assert gpu.find_libraries(machine.wheels)["libcudnn.so.8"].path == str(wheel / "libcudnn.so.8")
    machine.install("libcudnn.so.8")
    assert gpu.find_libraries(machine.wheels)["libcudnn.so.8"].path == str(machine.libraries / "libcudnn.so.8")


@pytest.mark.parametrize(
    ("card", "build", "visible", "expected"),
    [
        (A100, {"cuda": ""}, None, "built without CUDA: remove tensorflow-cpu"),
        (A100, {}, "", "CUDA_VISIBLE_DEVICES='' hides the cards: unset it"),
        (A100, {}, "-1", "CUDA_VISIBLE_DEVICES='-1' hides the cards"),
        (A100.replace("535.104.05", "470.57.02"), {}, None, "driver 470.57.02 is too old: install 525.60.13 or later"),
        (A100.replace("8.0", "3.5"), {}, None, r"older than this TensorFlow's kernels \(compute capability 5.0\)"),
        (A100, {}, None, "medcap gpu --verbose"),
        (A100, {"used": 1}, None, "^$"),
    ],
)
def test_the_first_cause_is_told_with_its_remedy(machine, monkeypatch, card, build, visible, expected):
    machine.says(card)
    machine.install("libcuda.so.1", *gpu.LIBRARIES)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert re.search(expected, machine.report(BUILD._replace(**build)).remedy)


def test_the_drivers_own_library_may_be_what_is_missing(machine):
    machine.says(A100)
    machine.install(*gpu.LIBRARIES)
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in machine.report().remedy


def test_several_cards_and_one_that_hides_its_memory(machine):
    machine.says(f"{A100}\n{A100.replace('40960, 39500', '[N/A], [N/A]')}")
    lines = machine.report(BUILD._replace(used=2)).lines
    assert "GPU 1: NVIDIA A100-SXM4-40GB, memory unknown, compute capability 8.0: mixed_float16" in lines
    assert lines[-1] == "TensorFlow 2.15.1, built for CUDA 12.2, cuDNN 8, uses 2 of 2 GPUs"


def test_old_drivers_do_not_know_the_compute_capability(machine):
    machine.says("Tesla K80, 450.80.02, 11441, 11000", when='[ "${1%compute_cap}" = "$1" ]')
    assert gpu.read_driver(machine.bus) == gpu.Driver("450.80.02", (gpu.Card("Tesla K80", 11441, 11000, None),))


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [([(8, 0)], "mixed_float16"), ([(7, 0), (9, 0)], "mixed_float16"), ([(6, 1), (8, 0)], "float32"),
     ([None], "mixed_float16")],
)  # fmt: skip
def test_half_precision_is_for_cards_with_tensor_cores(capabilities, expected):
    assert gpu.precision(capabilities) == expected


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), True), ((7, 2), True), ((8, 0), True), ((8, 6), True), ((8, 9), True), ((9, 0), False), ((12, 0), False)],
)
def test_newer_cards_compile_kernels_on_first_use(capability, expected):
    assert gpu.runs_as_built(capability, BUILT) is expected


def test_no_binary_runs_on_an_older_minor_version():
    assert not gpu.runs_as_built((8, 0), ["sm_86"])
    assert not gpu.runs_as_built((8, 0), [])


@pytest.mark.slow
def test_the_command_ends_with_one_where_a_card_is_not_used(machine):
    machine.says(P100)
    done = run_command("-m", "medcap_tf", "gpu", check=False, env=dict(os.environ))
    assert done.returncode == 1
    assert "compute capability 6.0: float32" in done.stdout and "uses 0 of 1 GPU" in done.stdout
    assert done.stderr.startswith("error: TensorFlow does not use the NVIDIA card of this machine: ")


@pytest.mark.parametrize(("code", "extras"), [(0, "'.[dev,gpu]'"), (9, "'.[dev]'")])
def test_make_installs_cuda_where_a_card_answers(machine, monkeypatch, code, extras):
    make = shutil.which("make", path=os.defpath)
    if not make:
        pytest.skip("no make")
    machine.says("GPU 0: NVIDIA A100", code)
    monkeypatch.setenv("PATH", f"{machine.bin}:{os.defpath}")
    command = [make, "--dry-run", "--always-make", "venv"]
    assert f"-e {extras}" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
