"""Moments in and out of UNIX nanoseconds, and lengths of time into nanoseconds."""

from __future__ import annotations

import datetime as dt
import operator
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from liqclient._types import Duration, Time

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_INT64 = range(-(2**63), 2**63)
_INT64_SECONDS = range(-(2**63) // 10**9 + 1, 2**63 // 10**9)
# Python's parser cuts fractions of a second to six digits, so they are taken out before it sees them. The
# lookahead makes sure that it is the time's fraction and that a zone follows.
_FRACTION = re.compile(r"[.,](\d+)(?=[Z+-])")
_DURATION = re.compile(r"([0-9]{1,19})([smhdw])")
_UNITS = {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9, "w": 7 * 86_400 * 10**9}
# Months and years have no length of their own, and what is finer than nanoseconds cannot be sent.
_NUMPY_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "D": _UNITS["d"], "W": _UNITS["w"]} | {
    unit: _UNITS[unit] for unit in ("s", "m", "h")
}


def to_nanoseconds(time: Time) -> int:
    """Return a moment as UNIX nanoseconds.

    Raises
    ------
    TypeError
        If ``time`` is of no type that names a moment.
    ValueError
        If ``time`` has no time zone, is no ISO 8601, is NaT, or does not fit 64 bits.
    """
    if isinstance(time, bool):
        raise TypeError("time must be a moment, was a bool")
    if isinstance(time, dt.datetime):
        ns = _from_datetime(time)
    elif isinstance(time, np.datetime64):
        ns = _from_datetime64(time)
    elif isinstance(time, str):
        ns = _from_text(time)
    else:
        try:
            ns = operator.index(time)
        except TypeError:
            raise TypeError(
                "time must be UNIX nanoseconds as int, an aware datetime, a numpy datetime64 or ISO 8601 text, "
                f"was {type(time).__name__}"
            ) from None
    if ns not in _INT64:
        raise ValueError(f"time must fit 64 bits of UNIX nanoseconds, was {time!r}")
    return ns


def to_duration_nanoseconds(duration: Duration, name: str = "duration") -> int:
    """Return a length of time as nanoseconds.

    Parameters
    ----------
    duration
        Nanoseconds, a timedelta, a numpy timedelta64 in weeks or less, or text: a whole number and one of s, m,
        h, d, w.
    name
        What it is called in messages.

    Raises
    ------
    TypeError
        If ``duration`` is of no type that names a length of time.
    ValueError
        If ``duration`` cannot be read, is NaT, has no fixed length, or does not fit 64 bits.
    """
    if isinstance(duration, bool):
        raise TypeError(f"{name} must be a length of time, was a bool")
    if isinstance(duration, dt.timedelta):
        ns = _from_timedelta(duration)
    elif isinstance(duration, np.timedelta64):
        ns = _from_timedelta64(duration, name)
    elif isinstance(duration, str):
        match = _DURATION.fullmatch(duration)
        if match is None:
            raise ValueError(
                f"{name} must be a whole number and one of s, m, h, d, w, such as 5m or 1d, was {duration!r}"
            )
        ns = int(match[1]) * _UNITS[match[2]]
    else:
        try:
            ns = operator.index(duration)
        except TypeError:
            raise TypeError(
                f"{name} must be nanoseconds as int, a timedelta, a numpy timedelta64 or text such as 5m, "
                f"was {type(duration).__name__}"
            ) from None
    if ns not in _INT64:
        raise ValueError(f"{name} must fit 64 bits of nanoseconds, was {duration!r}")
    return ns


def to_datetime(ns: int) -> dt.datetime:
    """Return UNIX nanoseconds as a UTC datetime, cut to microseconds."""
    return _EPOCH + dt.timedelta(microseconds=ns // 1000)


def _from_datetime(time: dt.datetime) -> int:
    if time.utcoffset() is None:
        raise ValueError(f"datetime must carry a time zone, was naive: {time.isoformat()}")
    return _from_timedelta(time - _EPOCH)


def _from_timedelta(delta: dt.timedelta) -> int:
    # Whole numbers all the way: a float of seconds is some 200 ns off. Those of pandas, which are also what two
    # of its Timestamps differ by, know nanoseconds too.
    micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    return micros * 1000 + int(getattr(delta, "nanoseconds", 0))


def _from_timedelta64(delta: np.timedelta64, name: str) -> int:
    if np.isnat(delta):
        raise ValueError(f"{name} must be a length of time, was NaT")
    unit, count = np.datetime_data(delta)
    if unit not in _NUMPY_UNITS:
        raise ValueError(f"{name} must have a unit from nanoseconds to weeks, was {delta!r}")
    # In Python's numbers, as numpy's wrap around.
    return int(delta.astype(np.int64)) * count * _NUMPY_UNITS[unit]


def _from_datetime64(time: np.datetime64) -> int:
    if np.isnat(time):
        raise ValueError("time must be a moment, was NaT")
    try:
        # Some versions of numpy wrap around instead of raising.
        if int(time.astype("datetime64[s]").astype(np.int64)) in _INT64_SECONDS:
            return int(time.astype("datetime64[ns]").astype(np.int64))
    except OverflowError:
        pass
    raise ValueError(f"time must fit 64 bits of UNIX nanoseconds, was {time!r}")


def _from_text(text: str) -> int:
    whole, fraction = text, ""
    if match := _FRACTION.search(text):
        whole, fraction = text[: match.start()] + text[match.end() :], match[1]
    if len(fraction) > 9:
        raise ValueError(f"time must have at most nine decimals of a second, was {text!r}")
    try:
        time = dt.datetime.fromisoformat(whole)
    except ValueError:
        raise ValueError(f"time must be ISO 8601 such as 2025-10-10T21:20:00Z, was {text!r}") from None
    if time.tzinfo is None:
        raise ValueError(f"time must end in Z or an offset, was {text!r}")
    return _from_datetime(time) + int(fraction.ljust(9, "0"))
