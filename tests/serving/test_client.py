"""The client over both protocols: answers, retries, and one clear line for each way it can fail."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request

import cv2
import numpy as np
import pytest

from medcap_tf.errors import InputError
from medcap_tf.serving.client import connect, in_batches
from medcap_tf.serving.request import Options, TooLarge, Unavailable, retried
from tests.conftest import ROOT, run_command
from tests.serving.server import free_port, serving


def client(*arguments, check=True):
    return run_command("-m", "medcap_tf", "client", *arguments, check=check)


def test_it_tries_again_while_the_server_is_not_there():
    left = iter([Unavailable("starting"), Unavailable("starting"), "answer"])

    def call(seconds):
        item = next(left)
        if isinstance(item, Exception):
            raise item
        return item

    assert retried(call, "there", 10) == "answer"


def test_it_gives_up_in_time():
    def call(seconds):
        raise Unavailable("closed")

    began = time.monotonic()
    with pytest.raises(InputError, match=r"there: not available for 0.5 s \(closed\)"):
        retried(call, "there", 0.5)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_no_server_is_one_line(scheme):
    with pytest.raises(InputError, match="not available for 0.5 s") as error:
        connect(f"{scheme}://127.0.0.1:{free_port()}", Options(timeout=0.5)).predict(
            "text", "caption", np.zeros(0, object)
        )
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_server_that_starts_late_is_waited_for(exported, image_paths):
    port = free_port()
    found = {}

    def ask():
        remote = connect(f"http://127.0.0.1:{port}", Options(timeout=60))
        found.update(remote.predict("text", "caption", np.array([b"chest"], object)))

    waiting = threading.Thread(target=ask)
    waiting.start()
    time.sleep(1)
    # A double of the server, on the port that the client already knocks at.
    command = [sys.executable, "-m", "tests.serving.double", exported[0], "--rest-port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        waiting.join(timeout=60)
        assert found["tokens"].shape == (1, 40)
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_errors_of_the_server_are_one_line(server, protocol):
    url = getattr(server, protocol)
    for options, signature, name in (
        (Options("nobody"), "text", "caption"),
        (Options(), "dance", "caption"),
        (Options(), "text", "image_bytes"),
    ):
        with pytest.raises(InputError) as error:
            connect(url, options).predict(signature, name, np.array([b"x"], object))
        assert "\n" not in str(error.value)
        assert url in str(error.value)


@pytest.mark.slow
def test_both_protocols_answer_alike(server, image_paths):
    files = [path.read_bytes() for path in image_paths[:3]] + [b"broken"]
    rest, grpc = (list(in_batches(connect(url, Options()), "explain", files, 3)) for url in (server.rest, server.grpc))
    assert len(rest) == len(grpc) == 4
    for one, other in zip(rest, grpc):
        assert set(one) == set(other)
        for name in one:
            if isinstance(one[name], np.ndarray) and one[name].dtype != object:
                np.testing.assert_allclose(one[name], other[name], atol=1e-5)
            else:
                assert np.array_equal(one[name], other[name]), name


@pytest.mark.slow
def test_rest_in_rows_health_and_metadata(server):
    body = json.dumps({"signature_name": "text", "instances": [{"caption": "chest"}, {"caption": ""}]}).encode()
    with urllib.request.urlopen(f"{server.rest}/v1/models/medcap:predict", body) as answer:
        rows = json.load(answer)["predictions"]
    assert len(rows) == 2
    assert set(rows[0]) == {"tokens", "word_importance", "concept", "concept_name", "concept_score"}
    with urllib.request.urlopen(f"{server.rest}/v1/models/medcap/metadata") as answer:
        signatures = json.load(answer)["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) >= {"serving_default", "image", "explain", "activations", "text"}
    assert signatures["serving_default"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_the_command_prints_a_line_an_image(server, image_paths, tmp_path, protocol):
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    url = getattr(server, protocol)
    done = client("--url", url, image_paths[0].parent, broken, "--batch-size", "3", check=False)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(path) for path in image_paths]
    assert all(float(line[2]) < 0 for line in lines)
    assert done.returncode == 1
    assert "broken.png: not a readable image" in done.stderr and "refused by this machine's reader" in done.stderr
    assert "1 of 9 images" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_more_images_than_the_largest_batch_are_sent_in_parts(exported, server, image_paths, protocol):
    files = [path.read_bytes() for path in image_paths]
    wanted = server.ask("serving_default", files)["caption"].tolist()
    with serving(exported[0], largest_batch=3) as small:
        remote = connect(getattr(small, protocol), Options())
        with pytest.raises(TooLarge, match="larger than max"):
            remote.predict("serving_default", "image_bytes", np.array(files, object))
        rows = in_batches(remote, "serving_default", files, 32)
        assert [row["caption"] for row in rows] == wanted


@pytest.mark.slow
def test_pictures_from_the_answer_alone(server, image_paths, tmp_path):
    done = client("--url", server.grpc, image_paths[0], "--explain", "--out", tmp_path / "why", "--json")
    (picture,) = (tmp_path / "why").iterdir()
    answer = json.loads(done.stdout.splitlines()[0])
    assert len(answer["regions"]) == answer["length"] == len(answer["caption"].split())
    assert done.stdout.splitlines()[1] == str(picture)
    assert cv2.imread(str(picture)).std() > 10


@pytest.mark.slow
def test_many_clients_at_once_each_get_their_own_answer(server, image_paths):
    files = [path.read_bytes() for path in image_paths]
    wanted = server.ask("serving_default", files)["caption"].tolist()
    wrong = []

    def ask(number):
        for turn in range(3):
            row = (number + turn) % len(files)
            if server.ask("serving_default", [files[row]])["caption"].tolist() != [wanted[row]]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not wrong
