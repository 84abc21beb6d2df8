"""Download: archive files from the exchange's public archive into a folder of the same layout.

Files are planned from the archive's own listing: of whole months the monthly file, of other days, and where there is no
monthly file (yet), the daily ones. A file is there when its SHA-256 is the one that the archive
states beside it; what is on disk is hashed each time, and the archive is asked each time, so that a file that was
published anew replaces the old one. Until then it is a ``.part`` file, whose name holds the SHA-256 it is to have.
"""

from __future__ import annotations

import calendar
import errno
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from liqserver.store.archive import CANDLE_KINDS, PUBLISHED_KINDS, ArchiveFile, Kind, interval_name, parse_file, utc
from liqserver.store.bucket import Bucket, SourceClosedError, SourceError
from liqserver.store.database import Database

INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
"""Intervals of candles that the archive has by the day and that have a fixed length."""
DEFAULT_KINDS = (Kind.AGG_TRADES, Kind.METRICS, Kind.MARK_PRICE_KLINES, Kind.KLINES, Kind.FUNDING_RATE)
"""What the models are fed with."""
# A day that was published late is still asked for when the days after it are in already.
LATE_DAYS = 7

_DAILY_ONLY = (Kind.METRICS, Kind.BOOK_DEPTH, Kind.LIQUIDATION_SNAPSHOT)
_MONTHLY_ONLY = (Kind.FUNDING_RATE,)
_SHA256 = re.compile(rb"\s*([0-9a-fA-F]{64})(?:\s.*)?", re.DOTALL)
# A body that is not what its checksum says is asked for so often.
_BODIES = 3
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class DownloadError(Exception):
    """A download cannot begin; the message says why."""


class Market(StrEnum):
    """Markets of the archive; the value is the name of the folder."""

    USD_M = "um"
    COIN_M = "cm"


@dataclass(frozen=True, slots=True)
class Series:
    """Files of one kind of one symbol.

    Attributes
    ----------
    market : Market
        Which market.
    symbol : str
        Name of the symbol.
    kind : Kind
        Which kind; all that the archive has.
    interval : str
        Of candles, one of `INTERVALS`; empty for other kinds.
    """

    market: Market
    symbol: str
    kind: Kind
    interval: str = ""

    def __post_init__(self) -> None:
        # It becomes part of a path.
        if not re.fullmatch(r"\w+", self.symbol) or self.symbol != self.symbol.upper():
            raise DownloadError(f"symbol was {self.symbol!r}, must be capital letters and digits, such as BTCUSDT")
        if self.kind not in PUBLISHED_KINDS:
            raise DownloadError(f"kind was {self.kind}: recordings of the feed and totals are not in the archive")
        if (self.kind in CANDLE_KINDS) != bool(self.interval):
            raise DownloadError(f"interval was {self.interval!r} for {self.kind}: candles have one and no other kind")
        if self.interval and self.interval not in INTERVALS:
            raise DownloadError(f"interval was {self.interval!r}, must be one of {', '.join(INTERVALS)}")

    @property
    def name(self) -> str:
        """Kind, with the interval of candles."""
        return f"{self.kind} {self.interval}".strip()

    def key(self, dates: str) -> str:
        """Return the name in the archive of the file of a day (``2025-12-01``) or month (``2025-12``)."""
        folder = "daily" if len(dates) > len("2025-12") else "monthly"
        below = f"{self.symbol}/{self.interval}" if self.interval else self.symbol
        file = f"{self.symbol}-{self.interval or self.kind}-{dates}.zip"
        return f"data/futures/{self.market}/{folder}/{self.kind}/{below}/{file}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Days of a series that are wanted.

    Attributes
    ----------
    series : Series
        What they are of.
    days : frozenset of date
        Which days, UTC.
    newest : date or None
        The last day that is there already, where that is known.
    """

    series: Series
    days: frozenset[date]
    newest: date | None = None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that is wanted.

    Attributes
    ----------
    series : Series
        What it is of.
    dates : str
        Its day or month, as its name has it.
    size : int or None
        Bytes, None where the archive does not list it (yet).
    """

    series: Series
    dates: str
    size: int | None

    @property
    def key(self) -> str:
        """Name in the archive, which is the path below the folder as well."""
        return self.series.key(self.dates)


class Outcome(StrEnum):
    """What became of a file that is wanted."""

    DOWNLOADED = "downloaded"
    ALREADY_THERE = "already there"
    NOT_PUBLISHED = "not published"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """What became of one file.

    Attributes
    ----------
    file : RemoteFile
        Which file.
    outcome : Outcome
        What became of it.
    path : Path
        Where it is, or would be.
    received : int
        Bytes that came over the network.
    reason : str
        Why it failed or is not published; empty otherwise.
    """

    file: RemoteFile
    outcome: Outcome
    path: Path
    received: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DownloadReport:
    """What became of every file, in the order of the plan."""

    files: tuple[DownloadedFile, ...]

    def of(self, *outcomes: Outcome) -> tuple[DownloadedFile, ...]:
        """Return the files with one of some outcomes."""
        return tuple(file for file in self.files if file.outcome in outcomes)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is; files are those the archive lists, bytes those that come over the network."""

    files_done: int
    files: int
    bytes_done: int
    bytes: int


def days_between(start: date, end: date) -> frozenset[date]:
    """Return the days from ``start`` to ``end``, both included."""
    return frozenset(start + timedelta(days=n) for n in range((end - start).days + 1))


class LedgerRow(NamedTuple):
    """A file that is in a database: where it belongs, nanoseconds of a row's period (0 for single events), its name."""

    venue: str
    symbol: str
    kind: str
    period: int
    name: str


def ledger_rows(database: Database) -> list[LedgerRow]:
    """Return the files that are in a database."""
    cur = database.cursor()
    try:
        rows = cur.execute(
            "SELECT venue, symbol, kind, period, name FROM ledger JOIN symbols USING (symbol_id) ORDER BY file_id"
        ).fetchall()
    finally:
        cur.close()
    return [LedgerRow(*row) for row in rows]


def days_missing(
    ledger: Iterable[LedgerRow], venue: str, symbols: Sequence[str], yesterday: date
) -> tuple[list[Wanted], list[str]]:
    """Find what a database lacks since the newest files of each kind it has.

    Parameters
    ----------
    ledger : iterable of LedgerRow
        The files that the database has.
    venue : str
        Venue whose symbols are meant.
    symbols : sequence of str
        Which of them; none stands for all.
    yesterday : date
        The last day wanted.

    Returns
    -------
    wanted : list of Wanted
        For each kind that came from archive files, the days after the last that a file brought in, and those of the
        `LATE_DAYS` before it that none did. A series without a day is up to date.
    notices : list of str
        What is left out, and why.

    Raises
    ------
    DownloadError
        If the database has no archive file of a symbol, or of any.
    """
    of_series: dict[tuple[str, str, int], list[str]] = {}
    for row in ledger:
        if row.venue == venue and (not symbols or row.symbol in symbols):
            of_series.setdefault((row.symbol, row.kind, row.period), []).append(row.name)
    wanted: list[Wanted] = []
    notices: list[str] = []
    known: set[str] = set()
    for (symbol, kind, period), names in sorted(of_series.items()):
        had = _days_of_files(kind, names)
        if not had:
            continue
        known.add(symbol)
        interval = interval_name(period) if kind in CANDLE_KINDS else ""
        if interval and interval not in INTERVALS:
            notices.append(f"{symbol} {kind} {interval} is left as it is: the archive has no such candles by the day")
            continue
        newest = max(had)
        first = max(min(had), newest - timedelta(days=LATE_DAYS))
        series = Series(Market.USD_M, symbol, Kind(kind), interval)
        wanted.append(Wanted(series, days_between(first, yesterday) - had, newest))
    if unknown := [symbol for symbol in symbols if symbol not in known]:
        raise DownloadError(f"the database has no archive files of {venue} {', '.join(unknown)} to go on from")
    if not known:
        raise DownloadError(f"the database has no archive files of {venue} to go on from")
    return wanted, notices


def plan(bucket: Bucket, wanted: Iterable[Wanted], jobs: int = 1) -> list[RemoteFile]:
    """Choose the files that bring wanted days, by what the archive lists.

    Parameters
    ----------
    bucket : Bucket
        The archive.
    wanted : iterable of Wanted
        What to bring.
    jobs : int
        Listings asked for at the same time.

    Returns
    -------
    list of RemoteFile
        By series and date; those that the archive does not list have no size.

    Raises
    ------
    SourceError
        If the archive cannot be listed.
    """
    # An interrupted listing leaves nothing behind; the first that fails ends it.
    with ThreadPoolExecutor(jobs) as pool:
        try:
            plans = list(pool.map(lambda want: _plan_series(bucket, want), wanted))
        except BaseException:
            bucket.stop()
            raise
    return [file for files in plans for file in files]


def download(
    bucket: Bucket,
    files: Sequence[RemoteFile],
    folder: Path,
    *,
    jobs: int = 4,
    progress: Callable[[Progress], None] | None = None,
) -> DownloadReport:
    """Bring files into a folder, each whole and verified or not at all.

    Parameters
    ----------
    bucket : Bucket
        The archive.
    files : sequence of RemoteFile
        Which files.
    folder : Path
        Receives them in the archive's layout, each with its ``.CHECKSUM``.
    jobs : int
        Files at the same time.
    progress : callable, optional
        Called at the start, with every piece that came and after each file, by one thread at a time.

    Returns
    -------
    DownloadReport
        A file that cannot be had has failed, with the reason, and the others come. After a full disk, or when the
        archive asks to be left alone for long, the rest is not tried.

    Raises
    ------
    DownloadError
        If there is not enough room for what is missing, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise DownloadError(f"cannot write below {folder}: {error.strerror or error}") from error
    needed = bytes_missing(files, folder)
    if needed > free:
        raise DownloadError(f"{needed:,} bytes are missing below {folder}, and there is room for {free:,}")
    run = _Run(bucket, folder, _Tally(files, progress))
    with ThreadPoolExecutor(jobs) as pool:
        try:
            return DownloadReport(tuple(pool.map(run.bring, files)))
        except BaseException:
            # Those under way end at once; what came stays for the next time.
            bucket.stop()
            pool.shutdown(cancel_futures=True)
            raise


def bytes_missing(files: Iterable[RemoteFile], folder: Path) -> int:
    """Return how many bytes of files are not below a folder, going by sizes alone."""
    return sum(file.size for file in files if file.size is not None and not looks_present(file, folder))


def looks_present(file: RemoteFile, folder: Path) -> bool:
    """Return whether there is a file of that name and size; its checksum is not looked at."""
    path = folder / file.key
    return path.is_file() and path.stat().st_size == file.size


# --- which files -----------------------------------------------------------------------------------------------


def _days_of_files(kind: str, names: Iterable[str]) -> frozenset[date]:
    """Return the days of the dates in names of archive files; recordings of the feed have none."""
    days: set[date] = set()
    for name in names:
        # The folder is what tells candles apart; from the root, since those above it count as well.
        file = parse_file(Path(os.sep, kind, name))
        if isinstance(file, ArchiveFile) and file.kind in PUBLISHED_KINDS:
            days |= days_between(utc(file.start).date(), utc(file.end).date() - timedelta(days=1))
    return frozenset(days)


def _plan_series(bucket: Bucket, wanted: Wanted) -> list[RemoteFile]:
    series, kind = wanted.series, wanted.series.kind
    by_month: dict[str, list[date]] = {}
    for day in sorted(wanted.days):
        by_month.setdefault(f"{day:%Y-%m}", []).append(day)
    # Monthly files of a kind that has no others are wanted for any of their days.
    monthly = [
        month
        for month, days in by_month.items()
        if kind in _MONTHLY_ONLY or (kind not in _DAILY_ONLY and len(days) == _length_of(days[0]))
    ]
    listed = _sizes(bucket, series, monthly)
    daily = [
        day.isoformat()
        for month, days in by_month.items()
        if month not in listed and kind not in _MONTHLY_ONLY
        for day in days
    ]
    listed |= _sizes(bucket, series, daily)
    chosen = {month for month in monthly if month in listed or kind in _MONTHLY_ONLY} | set(daily)
    return [RemoteFile(series, dates, listed.get(dates)) for dates in sorted(chosen)]


def _sizes(bucket: Bucket, series: Series, dates: Sequence[str]) -> dict[str, int]:
    """Return the sizes of the files of a series that are listed, of days or of months, by date."""
    if not dates:
        return {}
    first, last = series.key(min(dates)), series.key(max(dates))
    # After the name without its last letter: that of the first file comes later.
    listed = bucket.sizes(series.key(dates[0]).removesuffix(f"{dates[0]}.zip"), after=first[:-1], last=last)
    return {of: listed[key] for of in dates if (key := series.key(of)) in listed}


def _length_of(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


# --- bringing them ---------------------------------------------------------------------------------------------


class _Tally:
    """Counts files and bytes of all threads."""

    def __init__(self, files: Sequence[RemoteFile], tell: Callable[[Progress], None] | None) -> None:
        self._lock = threading.Lock()
        self._tell = tell
        self._files = sum(file.size is not None for file in files)
        self._files_done = 0
        self._bytes = sum(file.size or 0 for file in files)
        self._bytes_done = 0
        self.add()

    def add(self, *, files_done: int = 0, bytes_done: int = 0, bytes_expected: int = 0) -> None:
        with self._lock:
            self._files_done += files_done
            self._bytes_done += bytes_done
            self._bytes += bytes_expected
            if self._tell is not None:
                self._tell(Progress(self._files_done, self._files, self._bytes_done, self._bytes))


class _Meter:
    """Counts the bytes of one file: what came, and what is still expected to."""

    def __init__(self, tally: _Tally, size: int) -> None:
        self._tally = tally
        self._expected = size
        self.received = 0

    def expect(self, size: int) -> None:
        """Say how many bytes will have come in the end."""
        self._tally.add(bytes_expected=size - self._expected)
        self._expected = size

    def receive(self, size: int) -> None:
        """Count bytes that came; what is thrown away will have to come again."""
        if size < 0:
            self.expect(self._expected - size)
            return
        self.received += size
        self._tally.add(bytes_done=size)

    def close(self) -> None:
        self._tally.add(files_done=1, bytes_expected=self.received - self._expected)


@dataclass(slots=True)
class _Run:
    """One download; ``over`` says why nothing more is tried."""

    bucket: Bucket
    folder: Path
    tally: _Tally
    over: str = ""

    def bring(self, file: RemoteFile) -> DownloadedFile:
        """Bring one file."""
        target = self.folder / file.key
        if file.size is None:
            return DownloadedFile(file, Outcome.NOT_PUBLISHED, target, reason="the archive does not list it")
        meter = _Meter(self.tally, file.size)
        try:
            if self.over:
                outcome, reason = Outcome.FAILED, f"not tried: {self.over}"
            else:
                outcome, reason = self._bring(file, file.size, target, meter)
        except SourceError as error:
            outcome, reason = Outcome.FAILED, str(error)
            if isinstance(error, SourceClosedError):
                self.over = self.over or reason
        except OSError as error:
            outcome, reason = Outcome.FAILED, f"cannot be written: {error.strerror or error}"
            if error.errno in _DISK_FULL:
                self.over = f"the disk of {self.folder} is full"
        finally:
            meter.close()
        return DownloadedFile(file, outcome, target, meter.received, reason)

    def _bring(self, file: RemoteFile, size: int, target: Path, meter: _Meter) -> tuple[Outcome, str]:
        for failures in range(1, _BODIES + 1):
            stated = self.bucket.read(f"{file.key}.CHECKSUM")
            if stated is None:
                return Outcome.NOT_PUBLISHED, "the archive has no checksum of it"
            match = _SHA256.fullmatch(stated)
            if match is None:
                raise SourceError(f"{file.key}.CHECKSUM holds no SHA-256 but {stated[:40]!r}")
            sha256 = match[1].decode().lower()
            target.parent.mkdir(parents=True, exist_ok=True)
            if failures == 1 and target.exists() and _sha256(target) == sha256:
                meter.expect(0)
                _drop_parts(target)
                _write_beside(target, stated)
                return Outcome.ALREADY_THERE, ""
            # A part that was to become another content is of no use.
            part = target.with_name(f"{target.name}.{sha256[:16]}.part")
            _drop_parts(target, but=part)
            if part.exists():
                meter.expect(meter.received + max(size - part.stat().st_size, 0))
            if not self.bucket.download(file.key, part, size, meter.receive):
                part.unlink(missing_ok=True)
                return Outcome.NOT_PUBLISHED, "the archive lists it and does not have it"
            actual = _sha256(part)
            if actual == sha256:
                # In this order: a kill in between leaves a file whose checksum is asked for again.
                part.replace(target)
                _write_beside(target, stated)
                return Outcome.DOWNLOADED, ""
            part.unlink()
            if failures < _BODIES:
                meter.expect(meter.received + size)
                self.bucket.wait(failures)
        raise SourceError(
            f"its SHA-256 is {actual}, the archive's CHECKSUM says {sha256} ({_BODIES} downloads, none is kept)"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _drop_parts(target: Path, but: Path | None = None) -> None:
    # Not a glob: the name of a symbol is taken as it is.
    for path in target.parent.iterdir():
        if path.name.startswith(f"{target.name}.") and path.suffix == ".part" and path != but:
            path.unlink()


def _write_beside(target: Path, stated: bytes) -> None:
    """Write the checksum as the archive states it."""
    beside = target.with_name(f"{target.name}.CHECKSUM")
    if beside.exists() and beside.read_bytes() == stated:
        return
    part = beside.with_name(f"{beside.name}.part")
    part.write_bytes(stated)
    os.replace(part, beside)
