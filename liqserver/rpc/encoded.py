"""Answers kept as the bytes they are on the wire, so that one computation and one encoding serve all who ask."""

from __future__ import annotations

import threading
from collections import OrderedDict


class EncodedAnswers:
    """Least-recently-used answers by request, bounded in bytes; an answer of an older version is never returned.

    Parameters
    ----------
    max_bytes : int
        Bytes of answers to hold.
    """

    def __init__(self, max_bytes: int = 64 << 20) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._answers: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, request: bytes, version: int) -> bytes | None:
        """Return the answer to ``request`` if it was made from data of ``version``."""
        with self._lock:
            found = self._answers.get(request)
            if found is None or found[0] != version:
                return None
            self._answers.move_to_end(request)
            return found[1]

    def put(self, request: bytes, version: int, answer: bytes) -> None:
        """Keep ``answer``; an answer larger than everything that may be held is not kept."""
        if len(answer) > self._max_bytes:
            return
        with self._lock:
            replaced = self._answers.pop(request, None)
            self._held += len(answer) - (len(replaced[1]) if replaced else 0)
            self._answers[request] = (version, answer)
            while self._held > self._max_bytes:
                _, (_, dropped) = self._answers.popitem(last=False)
                self._held -= len(dropped)
