"""Streams of levels: the book they keep up to date, and what of it a reader has not seen yet.

What comes is applied to the book at once, in a thread or task of its own, so that nothing waits in the transport for
a reader that is slower than the levels change: it gets the newest, and is told how many updates that is.
"""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import grpc
import grpc.aio

from liqclient._answers import Levels, Watermark, changed_levels, heartbeat_watermarks, levels_answer
from liqclient._errors import Cancelled, DeadlineExceeded, Internal, InvalidAnswer, LiqClientError, Unavailable
from liqserver.v1 import liquidation_pb2

type UpdateKind = Literal["snapshot", "delta", "heartbeat", "disconnected"]
"""What an update is: all bins, changed bins, a sign of life, or word of a connection that was lost."""

type Message = liquidation_pb2.StreamLevelsResponse | liquidation_pb2.StreamLevelsOnCreditResponse

# Signs of life may be late by this many heartbeats, and at least by so many seconds, before a connection is dead.
_SILENT_HEARTBEATS, _LEAST_SILENCE = 3, 3.0
_LEAST_PATIENCE = 0.2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """A place in the updates of a stream.

    Attributes
    ----------
    epoch
        Which numbering: it changes when the server begins anew.
    sequence
        Number of the update, from 1.
    """

    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelsUpdate:
    """What came over a stream since the update before.

    Attributes
    ----------
    kind
        "snapshot" (all bins), "delta" (the bins that changed), "heartbeat" (nothing changed), or "disconnected" (the
        connection was lost and is being made again; only where `Client.stream` was asked to).
    position
        Of the newest update in ``book``; None before the first.
    sent_at
        UNIX nanoseconds of the server's clock when it left; None when disconnected.
    as_of
        UNIX nanoseconds: the moment the levels speak of, of a heartbeat that of the newest levels at the server; None
        before the first.
    merged
        How many updates of levels were merged into this one, as they came faster than they were read; 1 for none, 0
        for a heartbeat or a lost connection.
    disconnects
        How often the connection was lost since the update before.
    watermarks
        How far the inputs reach; of a heartbeat with staleness against the server's clock. Empty when disconnected.
    book
        The book after this update; it stays as it is.
    error
        Why the connection was lost; None otherwise.
    """

    kind: UpdateKind
    position: StreamPosition | None
    sent_at: int | None
    as_of: int | None
    merged: int
    disconnects: int = 0
    watermarks: tuple[Watermark, ...]
    book: LevelBook
    error: LiqClientError | None = None


class LevelBook:
    """Levels that messages of a stream keep up to date; empty at first."""

    def __init__(self) -> None:
        self._levels: Levels | None = None
        self._position: StreamPosition | None = None

    def __repr__(self) -> str:
        return f"<LevelBook {self._levels!r} at {self._position}>" if self._levels is not None else "<LevelBook empty>"

    @property
    def position(self) -> StreamPosition | None:
        """Which update was applied last; None before the first."""
        return self._position

    def levels(self) -> Levels:
        """Return what `Client.levels` answered at this moment.

        Raises
        ------
        ValueError
            If the book is empty.
        """
        if self._levels is None:
            raise ValueError("the book is empty: no snapshot has come yet")
        return self._levels

    def copy(self) -> LevelBook:
        """Return a book of the same levels, which share their columns."""
        book = LevelBook()
        book._levels, book._position = self._levels, self._position
        return book

    def apply(self, message: liquidation_pb2.StreamLevelsResponse) -> LevelsUpdate:
        """Bring the book up to date with one message of `StreamLevels`.

        Returns
        -------
        LevelsUpdate
            What it was, with a copy of the book.

        Raises
        ------
        InvalidAnswer
            If it does not follow the update that was applied last, or breaks the protocol in another way. The book
            stays as it was.
        """
        kind = message.WhichOneof("update")
        merged = 1
        position = StreamPosition(message.position.epoch, message.position.sequence)
        if kind == "snapshot":
            self._levels, self._position = levels_answer(message.snapshot), position
        elif kind == "delta":
            has = None if self._position is None else (self._position.epoch, self._position.sequence)
            if self._levels is None or has != (position.epoch, message.delta.after_sequence):
                raise InvalidAnswer(
                    f"the stream has a gap: update {position.sequence} follows {message.delta.after_sequence} of "
                    f"numbering {position.epoch:x}, the book is at {self._position}"
                )
            self._levels = changed_levels(self._levels, message.delta, message.sent_at)
            self._position = position
            # The server merges, too.
            merged = position.sequence - message.delta.after_sequence
        elif kind == "heartbeat":
            # One without a position comes before the first update.
            if message.HasField("position") and position != self._position:
                raise InvalidAnswer(
                    f"the stream has a gap: a heartbeat after {position}, the book is at {self._position}"
                )
            return LevelsUpdate(
                kind="heartbeat",
                position=self._position,
                sent_at=message.sent_at or None,
                as_of=message.heartbeat.as_of or None,
                merged=0,
                watermarks=heartbeat_watermarks(message.heartbeat),
                book=self.copy(),
            )
        else:
            raise InvalidAnswer("the stream has a message that is neither snapshot nor delta nor heartbeat")
        where = self._levels.provenance
        return LevelsUpdate(
            kind=kind,
            position=position,
            sent_at=message.sent_at or None,
            as_of=where.as_of,
            merged=merged,
            watermarks=where.watermarks,
            book=self.copy(),
        )


class Latest:
    """The newest of a stream that was not taken yet."""

    def __init__(self, book: LevelBook) -> None:
        self.book = book
        self._levels: LevelsUpdate | None = None
        self._status: LevelsUpdate | None = None
        self._disconnects = 0

    def put(self, message: liquidation_pb2.StreamLevelsResponse) -> bool:
        """Apply ``message``; return whether it was an update of levels. Raises InvalidAnswer."""
        update = self.book.apply(message)
        if update.kind == "heartbeat":
            self._status = update
            return False
        if (before := self._levels) is not None:
            kind = "snapshot" if before.kind == "snapshot" else update.kind
            update = replace(update, kind=kind, merged=before.merged + update.merged)
        self._levels, self._status = update, None
        return True

    def lost(self, error: LiqClientError) -> None:
        """Note that the connection was lost."""
        self._disconnects += 1
        has = self.book.position
        self._status = LevelsUpdate(
            kind="disconnected",
            position=has,
            sent_at=None,
            as_of=None if has is None else self.book.levels().provenance.as_of,
            merged=0,
            watermarks=(),
            book=self.book.copy(),
            error=error,
        )

    def take(self) -> LevelsUpdate | None:
        """Return what is there, levels first; None if there is nothing."""
        update = self._levels or self._status
        if update is None:
            return None
        if update is self._levels:
            self._levels = None
        else:
            self._status = None
        disconnects, self._disconnects = self._disconnects, 0
        return replace(update, disconnects=disconnects)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """How to follow a stream.

    Attributes
    ----------
    request
        What is asked for, without position.
    on_credit
        Whether nothing is to be sent before it is asked for.
    reconnect
        Whether to connect again when the connection is lost.
    resume
        What is there already.
    first
        Seconds to wait for the first message of a call; None for no limit.
    """

    request: liquidation_pb2.StreamLevelsRequest
    on_credit: bool
    reconnect: bool
    resume: LevelBook | None
    first: float | None

    @property
    def silence(self) -> float:
        """Seconds without a message after which a connection is dead."""
        heartbeat = (self.request.heartbeat or 10**9) / 1e9
        return max(_SILENT_HEARTBEATS * heartbeat, _LEAST_SILENCE)

    def start(self) -> Latest:
        """Return what is there at the start."""
        return Latest(LevelBook() if self.resume is None else self.resume.copy())

    def asked(self, has: StreamPosition | None) -> liquidation_pb2.StreamLevelsRequest:
        """Return the request of who is at ``has``."""
        request = liquidation_pb2.StreamLevelsRequest()
        request.CopyFrom(self.request)
        if has is not None:
            request.resume_from.epoch, request.resume_from.sequence = has.epoch, has.sequence
        return request

    def silent(self, heard: bool) -> LiqClientError:
        """Return the error of a call of which nothing was heard for too long."""
        if not heard:
            return DeadlineExceeded(f"no answer within {self.first:g} s")
        return Unavailable(f"nothing was heard of the server for {self.silence:g} s: the connection counts as dead")

    def again(self, error: LiqClientError) -> bool:
        """Return whether to connect again after ``error``."""
        return self.reconnect and isinstance(error, Unavailable | DeadlineExceeded)


def _of_connection(error: LiqClientError) -> LiqClientError:
    """Return ``error``, or that the connection was lost where grpc calls that an internal error.

    It does so when a request is being sent at that moment. Internal errors of the server have a reason.
    """
    if type(error) is Internal and error.reason is None:
        return Unavailable(f"the connection was lost: {error.message}")
    return error


class Pauses:
    """Seconds between attempts: longer and longer, and by chance, so that not all clients come back at once."""

    def __init__(self) -> None:
        self._longest = _FIRST_PAUSE

    def next(self) -> float:
        longest, self._longest = self._longest, min(2 * self._longest, _LONGEST_PAUSE)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def reset(self) -> None:
        self._longest = _FIRST_PAUSE


def _levels_message(message: Message) -> liquidation_pb2.StreamLevelsResponse:
    return message.message if isinstance(message, liquidation_pb2.StreamLevelsOnCreditResponse) else message


_ONE_MORE = liquidation_pb2.StreamLevelsOnCreditRequest(credit=1)


class SyncCall(Protocol):
    """A call that streams answers."""

    def __iter__(self) -> Iterator[Message]: ...
    def cancel(self) -> object: ...


@dataclass(frozen=True, slots=True)
class SyncCalls:
    """What a stream needs of a client without an event loop: both forms of the call, and the error of a failed one."""

    plain: Callable[[liquidation_pb2.StreamLevelsRequest], SyncCall]
    on_credit: Callable[[Iterator[liquidation_pb2.StreamLevelsOnCreditRequest]], SyncCall]
    error: Callable[[grpc.RpcError], LiqClientError]


def follow(plan: StreamPlan, calls: SyncCalls) -> Generator[LevelsUpdate, None, None]:
    """Iterate over a stream; see `Client.stream`."""
    reader = _Reader(plan, calls)
    thread = threading.Thread(target=reader.run, name="liqclient stream", daemon=True)
    thread.start()
    try:
        while (update := reader.take()) is not None:
            yield update
    finally:
        reader.close()
        thread.join()


class _Reader:
    """Reads in a thread of its own; all but its call is guarded by one condition."""

    def __init__(self, plan: StreamPlan, calls: SyncCalls) -> None:
        self._plan = plan
        self._calls = calls
        self._changed = threading.Condition()
        self._latest = plan.start()
        self._call: SyncCall | None = None
        self._requests: queue.SimpleQueue[liquidation_pb2.StreamLevelsOnCreditRequest | None] = queue.SimpleQueue()
        self._credit = 0
        self._heard: float | None = None
        self._called = 0.0
        self._silent: LiqClientError | None = None
        self._failure: Exception | None = None
        self._over = False
        self._closed = threading.Event()

    def take(self) -> LevelsUpdate | None:
        """Wait for what comes next; None when the stream has ended. Raises what ended it."""
        with self._changed:
            while (update := self._latest.take()) is None:
                if self._failure is not None:
                    raise self._failure
                if self._over:
                    return None
                self._ask()
                deadline = self._deadline()
                # What lies there unread is read first, after a long stop of the whole program too.
                self._changed.wait(deadline and max(deadline - time.monotonic(), _LEAST_PATIENCE))
                self._check_silence()
            return update

    def close(self) -> None:
        """End the stream."""
        self._closed.set()
        with self._changed:
            if self._call is not None:
                self._call.cancel()

    def run(self) -> None:
        """Read until the stream has ended."""
        pauses = Pauses()
        while not self._closed.is_set():
            try:
                self._read(pauses)
            except LiqClientError as failed:
                error = _of_connection(failed)
                with self._changed:
                    if self._closed.is_set() or not self._plan.again(error):
                        self._failure = error
                        break
                    self._latest.lost(error)
                    self._changed.notify_all()
                self._closed.wait(pauses.next())
            except Exception as failure:  # raised where it is read
                self._failure = failure
                break
            else:
                break
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _read(self, pauses: Pauses) -> None:
        call = self._open()
        try:
            for message in call:
                pauses.reset()
                with self._changed:
                    self._heard = time.monotonic()
                    if self._latest.put(_levels_message(message)):
                        self._credit = 0
                    self._changed.notify_all()
        except grpc.RpcError as error:
            raise (self._silent or self._calls.error(error)) from error
        finally:
            call.cancel()
            with self._changed:
                self._call = None
            # The thread that sends requests waits for the next.
            self._requests.put(None)

    def _open(self) -> SyncCall:
        request = self._plan.asked(self._latest.book.position)
        with self._changed:
            if self._closed.is_set():
                raise Cancelled("the stream was closed")
            self._heard, self._silent, self._credit = None, None, 0
            self._called = time.monotonic()
            self._requests = queue.SimpleQueue()
            try:
                if self._plan.on_credit:
                    self._requests.put(liquidation_pb2.StreamLevelsOnCreditRequest(open=request))
                    self._call = self._calls.on_credit(iter(self._requests.get, None))
                else:
                    self._call = self._calls.plain(request)
            except ValueError as error:
                raise Cancelled("the client was closed") from error
            self._changed.notify_all()
            return self._call

    def _ask(self) -> None:
        """Grant credit, now that someone waits."""
        if self._plan.on_credit and self._call is not None and self._credit == 0:
            self._credit = 1
            self._requests.put(_ONE_MORE)

    def _deadline(self) -> float | None:
        """Return when the call counts as dead unless something is heard; None for never."""
        limit = self._plan.first if self._heard is None else self._plan.silence
        if self._call is None or self._silent is not None or limit is None:
            return None
        return (self._heard or self._called) + limit

    def _check_silence(self) -> None:
        deadline = self._deadline()
        if self._call is not None and deadline is not None and time.monotonic() >= deadline:
            self._silent = self._plan.silent(self._heard is not None)
            self._call.cancel()


class AsyncCall(Protocol):
    """A call that streams answers in an event loop."""

    def __aiter__(self) -> AsyncIterator[Message]: ...
    def cancel(self) -> object: ...


@dataclass(frozen=True, slots=True)
class AsyncCalls:
    """What a stream needs of a client in an event loop: both forms of the call, and how to wait for a message."""

    plain: Callable[[liquidation_pb2.StreamLevelsRequest], AsyncCall]
    on_credit: Callable[[AsyncIterator[liquidation_pb2.StreamLevelsOnCreditRequest]], AsyncCall]
    message: Callable[[AsyncIterator[Message]], Awaitable[Message | None]]


async def follow_async(plan: StreamPlan, calls: AsyncCalls) -> AsyncGenerator[LevelsUpdate, None]:
    """Iterate over a stream; see `AsyncClient.stream`."""
    reader = _AsyncReader(plan, calls)
    reading = asyncio.create_task(reader.run())
    try:
        while (update := await reader.take()) is not None:
            yield update
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


class _AsyncReader:
    """Reads in a task of its own."""

    def __init__(self, plan: StreamPlan, calls: AsyncCalls) -> None:
        self._plan = plan
        self._calls = calls
        self._changed = asyncio.Event()
        self._latest = plan.start()
        self._requests: asyncio.Queue[liquidation_pb2.StreamLevelsOnCreditRequest | None] = asyncio.Queue()
        self._reading = False
        self._credit = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._heard: float | None = None
        self._called = 0.0
        self._late = False
        self._silent: LiqClientError | None = None
        self._failure: Exception | None = None
        self._over = False

    async def take(self) -> LevelsUpdate | None:
        """Wait for what comes next; None when the stream has ended. Raises what ended it."""
        while (update := self._latest.take()) is None:
            if self._failure is not None:
                raise self._failure
            if self._over:
                return None
            if self._plan.on_credit and self._reading and self._credit == 0:
                self._credit = 1
                self._requests.put_nowait(_ONE_MORE)
            self._changed.clear()
            await self._changed.wait()
        return update

    async def run(self) -> None:
        """Read until the stream has ended."""
        pauses = Pauses()
        while True:
            try:
                await self._read(pauses)
            except LiqClientError as failed:
                error = _of_connection(failed)
                if not self._plan.again(error):
                    self._failure = error
                    break
                self._latest.lost(error)
                self._changed.set()
                await asyncio.sleep(pauses.next())
            except Exception as failure:  # raised where it is read
                self._failure = failure
                break
            else:
                break
        self._over = True
        self._changed.set()

    async def _read(self, pauses: Pauses) -> None:
        call = self._open()
        messages = aiter(call)
        self._heard = None
        self._called = self._loop.time()
        self._silent = None
        self._reading, self._credit = True, 0
        self._changed.set()
        self._watch(call)
        try:
            while (message := await self._calls.message(messages)) is not None:
                first, self._heard = self._heard is None, self._loop.time()
                if first:
                    self._watch(call)
                pauses.reset()
                if self._latest.put(_levels_message(message)):
                    self._credit = 0
                self._changed.set()
        except (asyncio.CancelledError, Cancelled):
            # That is also how a call ends that was cancelled for its silence.
            if self._silent is not None:
                raise self._silent from None
            raise
        finally:
            self._reading = False
            self._unwatch()
            call.cancel()
            # The task that sends requests waits for the next.
            self._requests.put_nowait(None)

    def _open(self) -> AsyncCall:
        request = self._plan.asked(self._latest.book.position)
        try:
            if not self._plan.on_credit:
                return self._calls.plain(request)
            self._requests = asyncio.Queue()
            self._requests.put_nowait(liquidation_pb2.StreamLevelsOnCreditRequest(open=request))
            return self._calls.on_credit(_sent(self._requests))
        except grpc.aio.UsageError as error:
            raise Cancelled("the client was closed") from error

    def _watch(self, call: AsyncCall) -> None:
        """Cancel ``call`` when nothing is heard for too long; looks again when that may be."""
        self._unwatch()
        limit = self._plan.first if self._heard is None else self._plan.silence
        if limit is None:
            return
        now, due = self._loop.time(), (self._heard or self._called) + limit
        if now < due:
            self._late = False
            self._timer = self._loop.call_at(due, self._watch, call)
        elif now > due + _LEAST_PATIENCE and not self._late:
            # The event loop stood still: what lies there unread is read first.
            self._late = True
            self._timer = self._loop.call_later(_LEAST_PATIENCE, self._watch, call)
        else:
            self._silent = self._plan.silent(self._heard is not None)
            call.cancel()

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _sent(
    requests: asyncio.Queue[liquidation_pb2.StreamLevelsOnCreditRequest | None],
) -> AsyncIterator[liquidation_pb2.StreamLevelsOnCreditRequest]:
    while (request := await requests.get()) is not None:
        yield request
