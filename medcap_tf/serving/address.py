"""A server's address as people type it, checked before anything is sent."""

from __future__ import annotations

import ipaddress
import math
import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from medcap_tf.errors import InputError

_FORMS = "should be http://HOST:8501 or grpc://HOST:8500"
_LONGEST_WAIT = 24 * 3600  # seconds; much more does not fit into what operating systems wait for


class Address(NamedTuple):
    """Where a server answers."""

    scheme: str  # http, https or grpc
    host: str  # without the brackets of an IPv6 address
    netloc: str  # host and port as a URL has them
    path: str  # of a proxy in front, without a slash at its end; empty for grpc

    @property
    def url(self) -> str:
        """The address in one piece."""
        return f"{self.scheme}://{self.netloc}{self.path}"

    @property
    def loopback(self) -> bool:
        """Whether it is this machine, which no proxy leads to."""
        name = self.host.lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            number = ipaddress.ip_address(name)
        except ValueError:
            return False
        return number.is_loopback or number.is_unspecified


def parse_address(url: str) -> Address:
    """Read `http://HOST:8501`, `https://...` or `grpc://HOST:8500`; raises InputError naming what is wrong."""
    wrong = _objection(url)
    if wrong:
        raise InputError(f"--url {url!r}: {wrong}; it {_FORMS}")
    parts = urlsplit(url)
    return Address(parts.scheme, parts.hostname or "", parts.netloc, parts.path.rstrip("/"))


def check_timeout(value: str | float) -> float:
    """A time-out in seconds; raises InputError where it is no number above 0, or more than a day."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_WAIT:
        raise InputError(f"--timeout {value}: should be a number of seconds above 0 and up to {_LONGEST_WAIT}")
    return seconds


def _objection(url: str) -> str:
    # Python's own parser drops tabs and line ends without a word.
    if re.search(r"[\s\x00-\x20\x7f\\]", url):
        return "holds a blank, a backslash or a control character"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in ("http", "https", "grpc") or not parts.netloc:
        return "has no http://, https:// or grpc:// in front of a host"
    return _host_objection(parts) or _port_objection(parts, port) or _rest_objection(parts)


def _host_objection(parts: SplitResult) -> str:
    if "@" in parts.netloc:
        return "holds a user name or a password, which are not sent"
    if ":" in (parts.hostname or "") or re.fullmatch(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?", parts.hostname or ""):
        return ""
    return f"has no host name in {parts.netloc!r}"


def _port_objection(parts: SplitResult, port: int | None) -> str:
    if port == 0 or (port is None and parts.scheme == "grpc"):
        return "has no port"
    return "has no port after the colon" if parts.netloc.endswith(":") else ""


def _rest_objection(parts: SplitResult) -> str:
    if parts.query or parts.fragment:
        return "holds a ? or a #"
    if parts.scheme == "grpc" and parts.path.strip("/"):
        return f"has a path ({parts.path}), which gRPC does not know"
    if "/v1" in parts.path:
        return f"ends in {parts.path}, which is added by itself (the model's name is given separately)"
    return ""
