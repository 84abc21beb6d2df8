"""``AdminService``: translates and delegates."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from pathlib import Path

from liqserver.config import DEFAULT_VENUE
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import InvalidField, Refused
from liqserver.store.archive import ArchiveError
from liqserver.store.database import Database, StoreError
from liqserver.store.ingest import FileResult, Progress, Status, ingest
from liqserver.store.liquidation_files import DEFAULT_QUOTE_ASSET
from liqserver.v1 import admin_pb2, admin_pb2_grpc

_STATUSES = {
    Status.INGESTED: admin_pb2.INGEST_STATUS_INGESTED,
    Status.ALREADY_INGESTED: admin_pb2.INGEST_STATUS_ALREADY_INGESTED,
    Status.REJECTED: admin_pb2.INGEST_STATUS_REJECTED,
    Status.NOT_READ: admin_pb2.INGEST_STATUS_NOT_READ,
}


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """Changes the server's data while it answers.

    Parameters
    ----------
    database : Database
        Written to.
    engine : LevelsEngine
        Told which markets changed.
    executor : Executor
        Of one thread: one ingest at a time.
    """

    def __init__(self, database: Database, engine: LevelsEngine, executor: Executor) -> None:
        self._database = database
        self._engine = engine
        self._executor = executor

    async def Ingest(  # noqa: N802
        self, request: admin_pb2.IngestRequest, context: object
    ) -> AsyncIterator[admin_pb2.IngestResponse]:
        """Yield progress; the client's leaving ends the ingest after the file under way."""
        loop = asyncio.get_running_loop()
        messages: asyncio.Queue[admin_pb2.IngestResponse | None] = asyncio.Queue()
        left = threading.Event()

        def tell(message: admin_pb2.IngestResponse | None) -> None:
            loop.call_soon_threadsafe(messages.put_nowait, message)

        def run() -> None:
            try:
                self._ingest(request, tell, left)
            finally:
                tell(None)

        running = loop.run_in_executor(self._executor, run)
        try:
            while (message := await messages.get()) is not None:
                yield message
            await running
        finally:
            left.set()

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
            report = ingest(
                self._database,
                paths,
                venue=venue,
                base_bin=request.base_bin or None,
                replace=request.replace,
                quote_asset=request.quote_asset or DEFAULT_QUOTE_ASSET,
                progress=progress,
            )
        except _ClientLeft:
            return
        except ArchiveError as error:
            raise InvalidField("paths", ", ".join(request.paths), f"which cannot be ingested: {error}") from None
        except StoreError as error:
            raise Refused("INGEST_REFUSED", str(error)) from None
        finally:
            # What went in shows even if the rest did not.
            for symbol in sorted(changed):
                self._engine.refresh(venue, symbol)
        for file in report.of(Status.NOT_READ):
            tell(_progress(now, file))


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
