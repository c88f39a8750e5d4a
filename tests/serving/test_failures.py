"""What comes back from a server that is broken, another, or behind something: one clear line each, or the answer."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from medcap_tf.errors import InputError
from medcap_tf.serving.client import connect, in_batches
from medcap_tf.serving.request import Options
from tests.conftest import run_command

OUTPUTS = {"caption": ["chest"], "stems": ["chest"], "score": [-0.5], "length": [1], "valid": [True]}


def http(status, body, *headers, length=None):
    """The bytes of one HTTP answer."""
    body = body.encode() if isinstance(body, str) else body
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def good(outputs=None):
    return http("200 OK", json.dumps({"outputs": outputs or OUTPUTS}))


@contextmanager
def answering(*answers, family=socket.AF_INET):
    """A server that gives these bytes in turn, the last again and again; yields its port and the requests it got."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    listener = socket.create_server((host, 0), family=family)
    left, requests = list(answers), []

    def serve():
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(5)
                requests.append(whole_request(peer))
                answer = left.pop(0) if len(left) > 1 else left[0]
                if answer is None:  # hangs up with a reset
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                elif callable(answer):
                    answer(peer)
                else:
                    peer.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1], requests
    finally:
        # Closing alone would not wake the thread that waits there.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def whole_request(peer):
    got = b""
    try:
        while b"\r\n\r\n" not in got:
            got += peer.recv(65536) or b"\r\n\r\n"
            if not got[:1].isalpha():  # a TLS greeting
                return got
        head, _, body = got.partition(b"\r\n\r\n")
        size = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if b"ength:" in line), 0)
        while len(body) < size:
            body += peer.recv(65536)
    except OSError:
        return got
    return head + b"\r\n\r\n" + body


def ask(url, files=(b"x",), timeout=2.0, size=8, model="medcap"):
    return list(in_batches(connect(url, Options(model, timeout)), "serving_default", list(files), size))


FINAL = {
    "a gRPC port": (b"\0\0\x12\x04\0\0\0\0\0\0\4\0@\0\0\r\n\r\n", "no HTTP server; gRPC's port goes with grpc://"),
    "a greeting": (b"220 mail.example.org ESMTP\r\n", "no HTTP server"),
    "an SSH port": (b"SSH-2.0-OpenSSH_9.6\r\n", "no HTTP server"),
    "a status that is none": (b"HTTP/1.1 abc OK\r\n\r\n", "no HTTP server"),
    "truncated JSON": (http("200 OK", '{"outputs": {"caption": ["che'), "not TensorFlow Serving's .*JSONDecodeError"),
    "cut off in its headers": (b"HTTP/1.1 200 OK\r\nContent-Le", "not TensorFlow Serving's"),
    "nothing": (http("200 OK", ""), "not TensorFlow Serving's"),
    "JSON of others": (http("200 OK", '{"hello": "world"}'), "not TensorFlow Serving's .*outputs"),
    "JSON's null": (http("200 OK", "null"), "not TensorFlow Serving's"),
    "deep JSON": (http("200 OK", "[" * 100_000), "not TensorFlow Serving's"),
    "bytes that are no text": (http("200 OK", b"\xff\xfe\0"), "not TensorFlow Serving's"),
    "uneven rows": (http("200 OK", '{"outputs": {"caption": [["a"], ["b", "c"]]}}'), "not TensorFlow Serving's"),
    "one output alone": (http("200 OK", '{"outputs": ["chest"]}'), "not TensorFlow Serving's"),
    "a page": (http("200 OK", "<html><body>Welcome to nginx</body></html>"), "not TensorFlow Serving's"),
    "broken compression": (http("200 OK", b"no gzip", "Content-Encoding: gzip"), "cannot be asked"),
    "another model": (good({"logits": [[0.5, 0.5]]}), r"1 images by .* with logits \[1, 2\], as no export"),
    "a row too many": (good({**OUTPUTS, "caption": ["a", "b"]}), r"caption \[2\].*as no export"),
    "a single value": (good({**OUTPUTS, "score": 1.0}), r"score \[\].*as no export"),
    "numbers for words": (good({**OUTPUTS, "caption": [3]}), "as no export"),
    "a page not found": (http("404 Not Found", "<!DOCTYPE html><html>\n<h1>404</h1>\n"), "HTTP 404: a web page.*name"),
    "another name": (
        http("404 Not Found", '{"error": "Servable not found for request: Latest(medcap)"}'),
        r"HTTP 404: Servable not found for request: Latest\(medcap\); .*the one that it is served under",
    ),
    "a password": (http("401 Unauthorized", ""), "HTTP 401: Unauthorized; it asks for a password"),
    "a bad request": (http("400 Bad Request", '{"error": "first line\\nsecond"}'), "HTTP 400: first line second"),
    "no POST": (http("405 Method Not Allowed", "<html>\n405"), "HTTP 405: a web page"),
    "an internal error": (http("500 Internal Server Error", "oops"), "HTTP 500: oops"),
    "no content": (http("204 No Content", ""), "HTTP 204"),
    "a redirect": (
        http("301 Moved", "", "Location: https://models.example.org/v1/models/medcap:predict"),
        "HTTP 301: sends on to https://models.example.org; give that as --url",
    ),
    "a redirect to nowhere": (http("302 Found", ""), "HTTP 302: sends on to another address"),
    "a redirect that keeps the body": (http("307 Temporary", "", "Location: /login"), "HTTP 307: sends on to /login"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FINAL)
def test_a_failure_for_good_is_one_line_at_once(kind):
    answer, message = FINAL[kind]
    with answering(answer) as (port, requests), pytest.raises(InputError, match=message) as error:
        ask(f"http://127.0.0.1:{port}")
    assert "\n" not in str(error.value)
    assert len(requests) == 1


LATER = {
    "503": http("503 Service Unavailable", "<html>busy"),
    "429": http("429 Too Many Requests", ""),
    "502": http("502 Bad Gateway", "<html>nginx"),
    "reset at once": None,
    "closed at once": b"",
    "cut off": http("200 OK", '{"outputs": {', length=500),
    "cut off in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
}


@pytest.mark.parametrize("kind", LATER)
def test_what_may_pass_is_tried_again(kind):
    with answering(LATER[kind], good()) as (port, requests):
        (row,) = ask(f"http://127.0.0.1:{port}")
    assert (row["caption"], len(requests)) == (b"chest", 2)


@pytest.mark.parametrize("kind", LATER)
def test_what_does_not_pass_is_one_line_in_time(kind):
    with answering(LATER[kind]) as (port, _), pytest.raises(InputError, match="not available for 0.5 s") as error:
        ask(f"http://127.0.0.1:{port}", timeout=0.5)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("start", [b"", http("200 OK", b"{", length=500)], ids=["silent", "silent in the middle"])
def test_a_server_that_falls_silent_is_not_waited_for_longer_than_asked(start):
    done = threading.Event()

    def stall(peer):
        peer.sendall(start)
        done.wait(10)

    with answering(stall) as (port, _), pytest.raises(InputError, match="no answer in time; give more --timeout"):
        try:
            ask(f"http://127.0.0.1:{port}", timeout=0.5)
        finally:
            done.set()


def test_https_before_a_plain_server_says_so():
    refused = pytest.raises(InputError, match="no TLS connection.*is it http://")
    with answering(http("400 Bad Request", "")) as (port, _), refused:
        ask(f"https://127.0.0.1:{port}")


def test_grpc_before_an_http_server_is_one_line():
    with answering(http("400 Bad Request", "")) as (port, _), pytest.raises(InputError) as error:
        ask(f"grpc://127.0.0.1:{port}", timeout=1)
    assert "\n" not in str(error.value)
    assert f"grpc://127.0.0.1:{port}" in str(error.value)


def test_an_ipv6_address_is_asked():
    try:
        with answering(good(), family=socket.AF_INET6) as (port, requests):
            (row,) = ask(f"http://[::1]:{port}/")
    except OSError:
        pytest.skip("no IPv6 on this machine")
    assert row["caption"] == b"chest"
    assert f"Host: [::1]:{port}".encode() in requests[0]


def test_a_path_in_front_and_odd_names_are_kept():
    with answering(good()) as (port, requests):
        ask(f"http://127.0.0.1:{port}/captions/", model="größe 1/versions/2")
    assert requests[0].startswith(b"POST /captions/v1/models/gr%C3%B6%C3%9Fe%201/versions/2:predict HTTP")


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_of_the_environment_stands_before_this_machine(monkeypatch, name, host):
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with answering(good()) as (port, _):
        assert ask(f"http://{host}:{port}")[0]["caption"] == b"chest"


def test_no_proxy_of_the_environment_stands_before_this_machines_grpc(monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with answering(b"") as (port, requests), pytest.raises(InputError):
        ask(f"grpc://127.0.0.1:{port}", timeout=1)
    assert requests and not requests[0].startswith(b"CONNECT")


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("http://127.0.0.1:9", "the environment's proxy fails .*NO_PROXY=models.example.org"),
        ("http://[::1", "models.example.org.*cannot be asked"),
        ("http://127.0.0.1:abc", "models.example.org"),
    ],
)
def test_a_proxy_that_fails_before_another_machine_is_named(monkeypatch, proxy, message):
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(InputError, match=message) as error:
        ask("http://models.example.org:8501")
    assert "\n" not in str(error.value)


def limited(most, refusal):
    """Answers of a server that takes `most` files a request, by the number of files in each."""

    def answer(count):
        return refusal if count > most else good({key: value * count for key, value in OUTPUTS.items()})

    return answer


REFUSALS = {
    "batching": http("400 Bad Request", '{"error": "Task size 5 is larger than maximum input batch size 2"}'),
    "a proxy's limit": http("413 Request Entity Too Large", "<html>413"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_more_files_than_the_server_takes_are_sent_in_parts(refusal):
    answer = limited(2, REFUSALS[refusal])
    with answering(*map(answer, [5, 2, 2, 1])) as (port, requests):
        rows = ask(f"http://127.0.0.1:{port}", [b"1", b"2", b"3", b"4", b"5"])
    assert [row["caption"] for row in rows] == [b"chest"] * 5
    sent = [json.loads(request.partition(b"\r\n\r\n")[2])["inputs"]["image_bytes"] for request in requests]
    assert list(map(len, sent)) == [5, 2, 2, 1]
    assert sent[0] == sent[1] + sent[2] + sent[3]


def test_one_file_too_large_costs_its_own_row():
    refusal = http("413 Request Entity Too Large", "<html>413")
    one = good()
    with answering(refusal, refusal, one, one) as (port, _):
        rows = ask(f"http://127.0.0.1:{port}", [b"large", b"2", b"3"], size=2)
    assert "HTTP 413: a web page" in str(rows[0]) and "send fewer images at once" in str(rows[0])
    assert [row["caption"] for row in rows[1:]] == [b"chest", b"chest"]


def test_files_that_could_not_be_read_keep_their_places():
    lost = InputError("x.png: no such file")
    with answering(good()) as (port, requests):
        rows = ask(f"http://127.0.0.1:{port}", [lost, b"1", lost, lost], size=2)
    assert [row is lost for row in rows] == [True, False, True, True]
    assert len(requests) == 1


@pytest.mark.parametrize("timeout", ["soon", "nan", "-3", "inf"])
def test_the_command_names_a_timeout_that_is_none(tmp_path, timeout):
    done = run_command(
        "-m", "medcap_tf", "client", "--url", "http://localhost:1", f"--timeout={timeout}", tmp_path, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: --timeout {timeout}: should be a number of seconds above 0 and up to 86400\n"


@pytest.mark.parametrize("command", [["client", "x.png"], ["demo"]])
def test_the_commands_name_an_address_that_is_none(command):
    done = run_command("-m", "medcap_tf", *command, "--url", "http://localhost:abc", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: --url 'http://localhost:abc': Port")
    assert len(done.stderr.splitlines()) == 1


def test_the_command_goes_on_after_a_file_that_cannot_be_sent(tmp_path):
    import cv2

    for name in ("1.png", "3.tif"):
        cv2.imwrite(str(tmp_path / name), np.full((8, 8), 90, np.uint8))
    (tmp_path / "2.tif").write_bytes(b"no image")
    rows = {key: value * 2 for key, value in OUTPUTS.items()}
    with answering(good(rows)) as (port, _):
        url = f"http://127.0.0.1:{port}"
        done = run_command("-m", "medcap_tf", "client", "--url", url, tmp_path, check=False)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [f"{tmp_path}/1.png", f"{tmp_path}/3.tif"]
    assert done.returncode == 1
    assert f"error: {tmp_path}/2.tif: " in done.stderr and "1 of 3 images" in done.stderr
