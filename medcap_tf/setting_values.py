"""Settings as they were typed or stood in JSON: read as their types, or refused in words."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from typing import Any

from medcap_tf.errors import InputError


def parse_settings(settings: Iterable[str]) -> dict[str, str]:
    """`["section.field=value", ...]` -> `{"section.field": "value"}`; raises InputError on another form, and on two
    values for one field."""
    result: dict[str, str] = {}
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise InputError(f"--set {setting}: should be section.field=value, as in --set decoding.beam_width=5")
        if result.setdefault(name, value) != value:
            raise InputError(f"--set {name}: given twice, {result[name]} and {value}; give it once")
    return result


def read_value(name: str, kind: type, value: Any) -> Any:
    """The value as bool, int, float or str; raises InputError, naming the setting, where it is none."""
    try:
        return _READERS[kind](value)
    except (TypeError, ValueError, OverflowError) as error:
        raise wrong_type(name, kind, value) from error


def wrong_type(name: str, kind: type, value: Any) -> InputError:
    """The error that says what the setting should be."""
    remedy = "; leave it out for the default" if value is None else ""
    return InputError(f"setting {name}: {shown(value)} should be of type {kind.__name__} ({_MEANT[kind]}){remedy}")


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _to_bool(value: Any) -> bool:
    names = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return names[str(value).lower()] if str(value).lower() in names else _refuse(value)


def _to_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return _refuse(value)
    try:
        return int(value) if isinstance(value, (int, str)) else _whole(value)
    except ValueError:
        return _whole(float(value))  # as in 1e3


def _whole(value: float) -> int:
    return int(value) if value == int(value) else _refuse(value)


def _to_float(value: Any) -> float:
    number = _refuse(value) if isinstance(value, bool) else float(value)
    return number if math.isfinite(number) else _refuse(value)


def _to_str(value: Any) -> str:
    text = os.fspath(value)
    return text if isinstance(text, str) and "\0" not in text else _refuse(value)


def _refuse(value: Any) -> Any:
    raise ValueError(value)


_READERS: dict[type, Callable[[Any], Any]] = {bool: _to_bool, int: _to_int, float: _to_float, str: _to_str}
_MEANT = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
