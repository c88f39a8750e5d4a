"""What several tests share: TensorFlow kept quiet and off the network, one small run, and a server on its export."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hashlib
import json
import random
import shutil
import subprocess
import sys
import tarfile

import pytest
from filelock import FileLock

from tests.commands import ROOT, run_forked

# Small enough for seconds, large enough that every stage has several batches.
SMALL = {
    "visual": {"weights": "none", "image_size": 32, "layer": "conv2_block3_out", "grid": 16, "concept_epochs": 1},
    "semantic": {"output": "sum", "embedding_size": 16, "units": 24, "attention_units": 16, "epochs": 2},
    "decoder": {"output": "sum", "embedding_size": 24, "units": 32, "attention_units": 16},
    "training": {"epochs": 2, "batch_size": 8, "precision": "float32", "deterministic": True, "seed": 3},
    "data": {"min_concept_count": 2, "horizontal_flip": False},
    "decoding": {"max_length": 12},
}


def pytest_collection_modifyitems(config, items):
    """Slow tests first, and those that need a GPU skipped, saying so, where there is none."""
    if workers := getattr(config, "workerinput", {}).get("workercount"):
        _begin_with_slow(items, workers)
    _skip_without_gpu(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """The same weights and noise in every run of a test and of its fixtures, whatever ran before it."""
    random.seed(0)
    if tf := sys.modules.get("tensorflow"):  # not imported for tests that need none
        tf.random.set_seed(0)
    if np := sys.modules.get("numpy"):
        np.random.seed(0)


def _begin_with_slow(items, workers):
    """Each worker begins with its share of the tests, in their order: with the slow ones, so that what it takes from
    others at the end is quick."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    items[:] = [
        item
        for n in range(workers)
        for kind in (slow, quick)
        for item in kind[len(kind) * n // workers : len(kind) * (n + 1) // workers]
    ]


def _skip_without_gpu(items):
    """TensorFlow is asked only if such a test was chosen."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no GPU on this machine"))


def run_command(*arguments, check=True, **options):
    """Run one of the project's commands as a person would, in a process of its own; with options of `subprocess.run`,
    or as a script that looks at what is imported (`-c`, `-X`), in a fresh one."""
    given = [*map(str, arguments)]
    if options or given[0] in ("-c", "-X"):
        command = [sys.executable, *given]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, **options)
    else:
        done = run_forked(given)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(given)} exited {done.returncode}:\n{done.stderr[-3000:]}")
    return done


def contents(folder):
    """Every file's digest, by its path: logs and checkpoints too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """(name, make) -> a folder of that name: the first worker that asks has `make` fill it, and all read it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name, make):
        path, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                path.mkdir()
                make(path)
                done.touch()
        return path

    return folder


@pytest.fixture(scope="session")
def phantoms(made_once):
    """A folder of 32 + 8 + 8 synthetic images."""
    from medcap_tf.phantoms import draw_dataset

    sizes = {"train": 32, "valid": 8, "test": 8}
    return made_once("data", lambda folder: draw_dataset(folder / "phantoms", sizes, seed=1)) / "phantoms"


@pytest.fixture(scope="session")
def small_config(tmp_path_factory):
    """A settings file for a training of seconds."""
    path = tmp_path_factory.mktemp("config") / "small.json"
    path.write_text(json.dumps(SMALL))
    return path


@pytest.fixture(scope="session")
def small_run(phantoms, small_config, made_once):
    """A finished run of `train.py` on the phantoms, all stages; for reading."""

    def train(folder):
        run_command("train.py", "--data", phantoms, "--out", folder / "small", "--config", small_config)

    return made_once("runs", train) / "small"


@pytest.fixture(scope="session")
def exported(small_run, made_once):
    """The folder that `export.py` wrote the small run to, its version is 1, and what it printed; for reading."""

    def export(folder):
        (folder / "printed").write_text(run_command("export.py", small_run, "--out", folder / "medcap").stdout)

    folder = made_once("served", export)
    return folder / "medcap", (folder / "printed").read_text()


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """Arguments of `train.py` for captions and concepts without images: the semantic stage alone, of four batches."""
    from medcap_tf.phantoms import draw_dataset

    folder = tmp_path_factory.mktemp("texts")
    draw_dataset(folder / "drawn", {"train": 32, "valid": 8, "test": 8}, seed=4)
    for table in (folder / "drawn").glob("*/*.xlsx"):
        (folder / "data" / table.parent.name).mkdir(parents=True, exist_ok=True)
        table.rename(folder / "data" / table.parent.name / table.name)
    (folder / "settings.json").write_text(json.dumps(SMALL))
    return ["--data", folder / "data", "--config", folder / "settings.json"]


@pytest.fixture(scope="session")
def first_version(made_once):
    """What the first version wrote, small: `run/`, `served/medcap/1/`, `images/` and what it said of them,
    `captions.json`; for reading."""

    def unpack(folder):
        with tarfile.open(ROOT / "tests" / "assets" / "first_version.tar.xz") as archive:
            archive.extractall(folder, filter="data")

    return made_once("first_version", unpack)


@pytest.fixture(scope="session")
def server(exported):
    """A running server on the export."""
    from tests.serving.server import serving

    with serving(exported[0]) as running:
        yield running


@pytest.fixture(scope="session")
def image_paths(phantoms):
    """The eight test images."""
    return sorted((phantoms / "test" / "images").iterdir())


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, with its console and its requests on record."""
    selenium = pytest.importorskip("selenium", reason="selenium is not installed (pip install -e '.[dev]')")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    from selenium.webdriver.chrome.service import Service

    options = selenium.webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = selenium.webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()
