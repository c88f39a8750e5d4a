"""Addresses as people mistype them: one line each, before anything is sent."""

from __future__ import annotations

import pytest

from medcap_tf.errors import InputError
from medcap_tf.serving.address import check_timeout, parse_address

SLIPS = {
    "localhost:8501": "has no http",
    "grpc://localhost": "has no port",
    "ftp://localhost:1": "has no http",
    "http://": "has no http",
    "": "has no http",
    "http:/localhost:8501": "has no http",
    "http:localhost:8501": "has no http",
    "//localhost:8501": "has no http",
    "http://localhost:abc": "Port could not be cast",
    "grpc://localhost:abc": "Port could not be cast",
    "http://localhost:99999": "Port out of range",
    "http://localhost:-1": "Port could not be cast|Port out of range",
    "http://localhost:85 01": "holds a blank",
    "http://localhost:0": "has no port",
    "grpc://localhost:": "has no port",
    "http://localhost:": "no port after the colon",
    "http://[::1": "Invalid IPv6 URL",
    "http://::1]:8501": "Invalid IPv6 URL",
    "http://[hello]:8501": "hello|no host",
    "http://::1:8501": "Port could not be cast|no host",
    "http:// localhost:8501": "holds a blank",
    " http://localhost:8501": "holds a blank",
    "http://local\thost:8501": "control character",
    "http://localhost:8501\n": "control character",
    "http:\\\\localhost:8501": "backslash",
    "http://.localhost:8501": "no host name",
    "http://local..host:8501": "no host name",
    "http://*:8501": "no host name",
    "http://:8501": "no host name",
    f"http://{'a' * 64}:8501": "no host name",
    "http://me:secret@localhost:8501": "user name or a password",
    "grpc://me@localhost:8500": "user name or a password",
    "http://localhost:8501?x=1": "holds a [?]",
    "http://localhost:8501#top": "holds a [?] or a #",
    "grpc://localhost:8500/v1": "a path",
    "http://localhost:8501/v1/models/medcap:predict": "added by itself",
    "http://localhost:8501/v1": "added by itself",
}


@pytest.mark.parametrize("url", SLIPS)
def test_a_slip_is_named_with_the_right_form(url):
    with pytest.raises(InputError, match=SLIPS[url]) as error:
        parse_address(url)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("it should be http://HOST:8501 or grpc://HOST:8500")


@pytest.mark.parametrize(
    ("url", "whole", "host", "loopback"),
    [
        ("http://localhost:8501", "http://localhost:8501", "localhost", True),
        ("HTTP://LOCALHOST:8501/", "http://LOCALHOST:8501", "localhost", True),
        ("http://127.0.0.1:8501//", "http://127.0.0.1:8501", "127.0.0.1", True),
        ("http://127.8.0.1", "http://127.8.0.1", "127.8.0.1", True),
        ("grpc://[::1]:8500/", "grpc://[::1]:8500", "::1", True),
        ("http://0.0.0.0:8501", "http://0.0.0.0:8501", "0.0.0.0", True),
        ("http://page.localhost:8501", "http://page.localhost:8501", "page.localhost", True),
        ("http://[fe80::1%25eth0]:8501", "http://[fe80::1%25eth0]:8501", "fe80::1%25eth0", False),
        ("https://models.example.org/captions/", "https://models.example.org/captions", "models.example.org", False),
        ("http://localhost.example.org:80", "http://localhost.example.org:80", "localhost.example.org", False),
        ("http://my_server:8501", "http://my_server:8501", "my_server", False),
        ("http://bücher.example:8501", "http://bücher.example:8501", "bücher.example", False),
        ("grpc://10.0.0.7:8500", "grpc://10.0.0.7:8500", "10.0.0.7", False),
    ],
)
def test_addresses_that_lead_somewhere(url, whole, host, loopback):
    address = parse_address(url)
    assert (address.url, address.host, address.loopback) == (whole, host, loopback)


@pytest.mark.parametrize("seconds", ["soon", "", "nan", "inf", "-inf", "0", "-1", "1e300", "5s", "1,5", float("nan")])
def test_a_timeout_that_is_no_number_of_seconds_is_named(seconds):
    with pytest.raises(InputError, match=r"--timeout .*: should be a number of seconds above 0"):
        check_timeout(seconds)


@pytest.mark.parametrize(("text", "seconds"), [("0.5", 0.5), (" 3 ", 3.0), (60, 60.0), ("86400", 86400.0)])
def test_timeouts_in_seconds(text, seconds):
    assert check_timeout(text) == seconds
