"""Moments in and out of UNIX nanoseconds."""

from __future__ import annotations

import datetime as dt
import operator
import re

import numpy as np

from liqclient._types import Time

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_INT64 = range(-(2**63), 2**63)
_INT64_SECONDS = range(-(2**63) // 10**9 + 1, 2**63 // 10**9)
# Python's parser cuts fractions of a second to six digits, so they are taken out before it sees them. The
# lookahead makes sure that it is the time's fraction and that a zone follows.
_FRACTION = re.compile(r"[.,](\d+)(?=[Z+-])")


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


def to_datetime(ns: int) -> dt.datetime:
    """Return UNIX nanoseconds as a UTC datetime, cut to microseconds."""
    return _EPOCH + dt.timedelta(microseconds=ns // 1000)


def _from_datetime(time: dt.datetime) -> int:
    if time.utcoffset() is None:
        raise ValueError(f"datetime must carry a time zone, was naive: {time.isoformat()}")
    delta = time - _EPOCH
    # Whole numbers all the way: a float of seconds is some 200 ns off. The difference of two pandas
    # Timestamps also knows nanoseconds.
    micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    return micros * 1000 + int(getattr(delta, "nanoseconds", 0))


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
