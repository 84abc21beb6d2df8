"""``AdminService``: translates and delegates."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import duckdb

from liqserver.config import DEFAULT_VENUE
from liqserver.live.calibrations import calibrated, cuts_of
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import InvalidField, Refused
from liqserver.live.feed import Feed
from liqserver.live.names import find_symbol, find_symbols
from liqserver.rpc.convert import calibration_info
from liqserver.store.archive import ArchiveError
from liqserver.store.calibrations import store_calibration
from liqserver.store.database import Database, StoreError
from liqserver.store.ingest import FileResult, Progress, Status, ingest
from liqserver.store.ledger import stored_files, symbol_keys
from liqserver.store.liquidation_files import DEFAULT_QUOTE_ASSET
from liqserver.store.markets import StoreMarkets
from liqserver.v1 import admin_pb2, admin_pb2_grpc

_STATUSES = {
    Status.INGESTED: admin_pb2.INGEST_STATUS_INGESTED,
    Status.ALREADY_INGESTED: admin_pb2.INGEST_STATUS_ALREADY_INGESTED,
    Status.REJECTED: admin_pb2.INGEST_STATUS_REJECTED,
    Status.NOT_READ: admin_pb2.INGEST_STATUS_NOT_READ,
}


# Of one message of ListFiles: some hundred kilobytes.
_FILES_OF_A_MESSAGE = 1_000
_PATHS_SHOWN = 3
# A tenth of the processor time of what answers, where both want it.
_NICENESS = 10


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """Changes the server's data while it answers.

    Parameters
    ----------
    database : Database
        Written to.
    feed : Feed
        Told which markets changed.
    engine : LevelsEngine
        Told of calibrations.
    executor : Executor
        Of one thread: one ingest or calibration at a time. The rest of the calls does not wait for it.
    clock : callable
        UNIX nanoseconds of now.
    """

    def __init__(
        self, database: Database, feed: Feed, engine: LevelsEngine, executor: Executor, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._feed = feed
        self._engine = engine
        self._executor = executor
        self._clock = clock

    def Ingest(  # noqa: N802
        self, request: admin_pb2.IngestRequest, context: object
    ) -> AsyncIterator[admin_pb2.IngestResponse]:
        """Yield progress; the client's leaving ends the ingest after the file under way."""
        return self._told(partial(self._ingest, request))

    def Calibrate(  # noqa: N802
        self, request: admin_pb2.CalibrateRequest, context: object
    ) -> AsyncIterator[admin_pb2.CalibrateResponse]:
        """Yield progress; the client's leaving ends it after the cut under way, and what was found before counts."""
        return self._told(partial(self._calibrate, request))

    async def _told[Message](
        self, work: Callable[[Callable[[Message | None], None], threading.Event], None]
    ) -> AsyncIterator[Message]:
        """Yield what ``work`` tells, done in the thread that does one thing at a time; its event says who left."""
        loop = asyncio.get_running_loop()
        messages: asyncio.Queue[Message | None] = asyncio.Queue()
        left = threading.Event()

        def tell(message: Message | None) -> None:
            loop.call_soon_threadsafe(messages.put_nowait, message)

        def run() -> None:
            try:
                work(tell, left)
            finally:
                tell(None)

        running = loop.run_in_executor(self._executor, run)
        try:
            while (message := await messages.get()) is not None:
                yield message
            await running
        finally:
            left.set()

    async def ListFiles(  # noqa: N802
        self, request: admin_pb2.ListFilesRequest, context: object
    ) -> AsyncIterator[admin_pb2.ListFilesResponse]:
        """Yield the ledger, so many files at a time."""
        files = await asyncio.to_thread(self._files, request)
        for first in range(0, len(files), _FILES_OF_A_MESSAGE):
            yield admin_pb2.ListFilesResponse(files=files[first : first + _FILES_OF_A_MESSAGE])

    def _files(self, request: admin_pb2.ListFilesRequest) -> list[admin_pb2.StoredFile]:
        cur = self._database.cursor()
        try:
            known = symbol_keys(cur)
            wanted = find_symbols(known, request.venue, request.symbol)
            return [admin_pb2.StoredFile(**of) for of in stored_files(cur, (known[of] for of in wanted))]
        finally:
            cur.close()

    def _ingest(
        self,
        request: admin_pb2.IngestRequest,
        tell: Callable[[admin_pb2.IngestResponse | None], None],
        left: threading.Event,
    ) -> None:
        paths = []
        for i, path in enumerate(request.paths):
            if not Path(path).is_absolute():
                raise InvalidField(f"paths[{i}]", repr(path), "must be an absolute path on the server's machine")
            paths.append(Path(path))
        if not paths:
            raise InvalidField("paths", "empty", "must name at least one file or folder on the server's machine")
        venue = request.venue or DEFAULT_VENUE
        changed: set[str] = set()
        now = Progress(0, 0, 0, 0, None)

        def progress(at: Progress) -> None:
            nonlocal now
            now = at
            if at.last is not None and at.last.status is Status.INGESTED:
                changed.add(at.last.symbol)
            tell(_progress(at, at.last))
            if left.is_set():
                raise _ClientLeft

        try:
            # A thread of its own: what gave way stays behind, and the markets below are not to wait.
            with ThreadPoolExecutor(1, thread_name_prefix="liqserver ingest", initializer=_give_way) as giving_way:
                report = giving_way.submit(
                    ingest,
                    self._database,
                    paths,
                    venue=venue,
                    base_bin=request.base_bin or None,
                    replace=request.replace,
                    quote_asset=request.quote_asset or DEFAULT_QUOTE_ASSET,
                    keep_raw=request.keep_raw,
                    symbol=request.symbol,
                    progress=progress,
                ).result()
        except _ClientLeft:
            return
        except ArchiveError as error:
            # Errors travel in headers, which have a limit.
            shown = ", ".join(request.paths) if len(paths) <= _PATHS_SHOWN else f"{len(paths)} paths"
            raise InvalidField("paths", shown, f"which cannot be ingested: {error}") from None
        except StoreError as error:
            if isinstance(error.__cause__, duckdb.FatalException):
                # Until the server starts anew nothing can be read either.
                changed.clear()
            raise Refused("INGEST_REFUSED", str(error)) from None
        finally:
            # What went in shows even if the rest did not.
            for symbol in sorted(changed):
                self._feed.refresh(venue, symbol)
        for file in report.of(Status.NOT_READ):
            tell(_progress(now, file))

    def _calibrate(
        self,
        request: admin_pb2.CalibrateRequest,
        tell: Callable[[admin_pb2.CalibrateResponse | None], None],
        left: threading.Event,
    ) -> None:
        venue, symbol = find_symbol(StoreMarkets(self._database).names(), request.venue, request.symbol, "")
        if self._database.read_only and not request.dry_run:
            raise Refused(
                "CALIBRATION_REFUSED", f"{self._database.path} is open for reading only: only a dry run can be"
            )
        market = self._engine.resident(venue, symbol).market
        cuts = cuts_of(market, request.until if request.HasField("until") else None, request.every)
        tell(admin_pb2.CalibrateResponse(cuts=len(cuts)))

        def run() -> None:
            for done, found in enumerate(calibrated(self._database, market, cuts), 1):
                if found is not None and not request.dry_run:
                    found = store_calibration(self._database, found, self._clock)
                info = None if found is None else calibration_info(found)
                tell(admin_pb2.CalibrateResponse(done=done, cuts=len(cuts), calibration=info))
                if left.is_set():
                    return

        try:
            with ThreadPoolExecutor(1, thread_name_prefix="liqserver calibration", initializer=_give_way) as giving_way:
                giving_way.submit(run).result()
        finally:
            if not request.dry_run:
                self._engine.recalibrated(venue, symbol)


def _give_way() -> None:
    """Let answers go first where there are not processors enough; threads that this one starts do so as well."""
    # Elsewhere it would be the whole process.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class _ClientLeft(Exception):
    """The client that asked for an ingest is gone."""


def _progress(at: Progress, file: FileResult | None) -> admin_pb2.IngestResponse:
    return admin_pb2.IngestResponse(
        files_done=at.files_done,
        files=at.files,
        bytes_done=at.bytes_done,
        bytes=at.bytes,
        file=None if file is None else _file(file),
    )


def _file(of: FileResult) -> admin_pb2.IngestedFile:
    return admin_pb2.IngestedFile(
        path=str(of.path),
        status=_STATUSES[of.status],
        symbol=of.symbol,
        kind=of.kind,
        period=of.period,
        rows=of.rows,
        stored_rows=of.stored_rows,
        dropped_rows=of.dropped_rows,
        ts_start=of.ts_start,
        ts_end=of.ts_end,
        notices=of.notices,
        reason=of.reason,
        bytes=of.bytes,
        seconds=of.seconds,
    )
