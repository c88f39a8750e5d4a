"""What is said before Ray is started, and without it."""

from __future__ import annotations

import socket

import pytest

from medcap_tf.cluster import engine
from medcap_tf.cluster.engine import Resources
from medcap_tf.errors import InputError
from tests.conftest import run_command

FREE = {"CPU": 3.0, "GPU": 1.0}


class Ray:
    """A cluster of four processors and two GPUs, three and one of them free: what Ray answers for it."""

    def available_resources(self):
        return FREE

    def cluster_resources(self):
        return {"CPU": 4.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(), 3),
        (Resources(workers=2), 2),
        (Resources(cpus_per_worker=2), 1),
        (Resources(gpus_per_worker=0.5), 2),
        (Resources(gpus_per_worker=0.1), 3),
    ],
)
def test_as_many_workers_as_there_is_room_for(resources, expected):
    assert engine._room(Ray(), resources) == expected


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (Resources(workers=4), "4 workers of 1 CPU do not fit: 3 of 4 CPUs and 1 of 2 GPUs are free; end other jobs"),
        (Resources(cpus_per_worker=4), "1 workers of 4 CPU do not fit"),
        (Resources(gpus_per_worker=2), "1 workers of 1 CPU and 2 GPU do not fit"),
    ],
)
def test_what_does_not_fit_is_said_at_once(resources, message):
    with pytest.raises(InputError, match=message):
        engine._room(Ray(), resources, patience=0)


def test_an_address_where_nobody_answers_is_refused_at_once():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(InputError, match=f"--address {address}: nobody answers there"):
            engine._check_reachable(address)


def test_without_ray_it_says_how_to_install_it(tmp_path):
    script = (
        "import sys\n"
        "sys.modules['ray'] = None\n"
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'ray' else find(name, *rest)\n"
        "from medcap_tf.cli.main import main\n"
        f"main(['cluster', 'caption', {str(tmp_path)!r}, {str(tmp_path)!r}, '--out', {str(tmp_path / 'out')!r}])\n"
    )
    done = run_command("-c", script, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "error: medcap cluster needs Ray, and ray is not installed: pip install 'medcap_tf[cluster]'\n"
    )
    assert not (tmp_path / "out").exists()
