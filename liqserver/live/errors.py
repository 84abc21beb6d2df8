"""What can be wrong with a question; ``rpc.errors`` maps each to a status.

AskError
├── UnknownName      no such symbol, venue or model
├── InvalidField     a field of the question is not allowed
├── OutsideCoverage  a moment for which there is no data
├── MissingInput     the model cannot do without something that is not there
├── Refused          the server cannot do this as it is
├── SlowReader       more waits for a reader than is kept
├── TokenRefused     no token, or one that is not known
├── ScopeMissing     a token that does not allow this
└── Stopping         the server stops
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_NAMES_SHOWN = 20


class AskError(Exception):
    """Root of all of them; ``reason`` is a stable word for programs, the message is for people."""

    reason = "ASK"

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata


class UnknownName(AskError):
    """A symbol, venue or model that is not known; names the known ones, of many the most like it."""

    def __init__(self, what: str, was: str, known: Iterable[str]) -> None:
        names = list(known)
        more = ""
        if len(names) > _NAMES_SHOWN:
            # Errors travel in headers, which have a limit.
            more = f", and {len(names) - _NAMES_SHOWN} others"
            names = get_close_matches(was, names, _NAMES_SHOWN, cutoff=0.0)
        shown = ", ".join(names) if names else "none yet: ingest data first"
        message = f"{what} {was!r} is not known; known: {shown}{more}"
        super().__init__(message, what=what, was=was, known=",".join(names))
        self.reason = f"{what.upper()}_UNKNOWN"


class InvalidField(AskError):
    """A field of the question, what it was, what is allowed."""

    reason = "FIELD_INVALID"

    def __init__(self, field: str, was: object, allowed: str) -> None:
        super().__init__(f"{field} was {was}, {allowed}", field=field, was=str(was))
        self.field = field
        self.description = f"was {was}, {allowed}"


class OutsideCoverage(AskError):
    """A moment outside of the data; names the covered range."""

    reason = "OUTSIDE_COVERAGE"

    def __init__(self, field: str, was: int, start: int, end: int, shown: str) -> None:
        super().__init__(f"{field} was {was}, {shown}", field=field, was=str(was), start=str(start), end=str(end))


class MissingInput(AskError):
    """An input that the model cannot do without."""

    reason = "INPUT_MISSING"

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message, what=what)


class Refused(AskError):
    """Something the server cannot do as it is, for example write to a database it holds for reading only."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SlowReader(AskError):
    """A reader leaves more unread than is kept for it."""

    reason = "READER_TOO_SLOW"


class TokenRefused(AskError):
    """No token, or one that is not known."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ScopeMissing(AskError):
    """A token that does not allow what is asked; names the scope that would, and those it has."""

    reason = "SCOPE_MISSING"

    def __init__(self, needed: str, has: Iterable[str]) -> None:
        scopes = ",".join(has)
        super().__init__(f"this needs the scope {needed}, and the token has {scopes}", needed=needed, has=scopes)


class Stopping(AskError):
    """The server stops; whoever asks another, or this one when it is back, goes on there."""

    reason = "SERVER_STOPS"

    def __init__(self) -> None:
        super().__init__("the server stops: ask again when it is back")
