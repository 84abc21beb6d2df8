"""The database file: opened, created from the schema, and handed out as cursors."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

SCHEMA_VERSION = 3
"""Version of schema.sql. Older files are migrated when they are opened for writing; newer ones are refused."""

DEFAULT_MEMORY_LIMIT = "25%"

_MEMORY = re.compile(r"(?=.*[1-9])\d+(\.\d+)?\s*(%|[KMGT]i?B)", re.IGNORECASE)
_UNPACKED = "ingest-"
# Bytes of pages that are not worth giving back.
_PAGES_KEPT = 4 << 20


class StoreError(Exception):
    """The database cannot be used as asked; the message says which file and why."""


class Database:
    """One DuckDB file with the schema of this package.

    Parameters
    ----------
    path : Path
        The file. Unless ``read_only``, it and its folder are created when missing.
    read_only : bool
        Only read. Files outside the database are then out of reach of its queries.
    memory_limit : str
        Most memory the database takes, as a size or a share of the machine's, for example ``"2GB"`` or ``"25%"``.
    keep_pages : bool
        Keep pages that were read or written in memory, as the limit allows. False is for a process that only ingests
        and has no use for them: nothing else may query the database meanwhile.
    threads : int, optional
        Threads of one query; by default as many as there are cores.
    temp_directory : Path, optional
        Where queries spill and archives are unpacked; by default a folder beside the file. No other database may use
        the same: what a killed process left there is removed when the file is opened for writing.
    clock : callable, optional
        Returns UNIX nanoseconds; the time of creation is taken from it.

    Raises
    ------
    StoreError
        If another process holds the file or another object of this one holds it for writing, if it is not a liqserver
        database or one of a newer schema version, if it cannot be opened or created, or if ``read_only`` is asked for
        a file that does not exist or is of an older version.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        memory_limit: str = DEFAULT_MEMORY_LIMIT,
        keep_pages: bool = True,
        threads: int | None = None,
        temp_directory: Path | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = Path(path)
        self.read_only = read_only
        # Called when DuckDB gives the database up, as it does where there is no room to write its log back: until it
        # is opened anew nothing can be read or written.
        self.when_lost: Callable[[], None] = lambda: None
        self._keep_pages = keep_pages
        self._memory_limit = memory_limit
        if not _MEMORY.fullmatch(memory_limit):
            raise StoreError(f"memory_limit was {memory_limit!r}, must be a size or a share, such as 2GB or 25%")
        self.temp_directory = temp_directory or self.path.with_name(self.path.name + ".tmp")
        if read_only and not self.path.exists():
            raise StoreError(f"there is no database at {self.path}")
        settings: dict[str, Any] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": memory_limit,
            "temp_directory": str(self.temp_directory),
        }
        if not read_only:
            # DuckDB shares a file within a process where all settings agree. Two writers do not: each would number
            # files by itself and remove what the other has unpacked.
            settings["custom_user_agent"] = f"liqserver {uuid.uuid4()}"
        if threads is not None:
            settings["threads"] = threads
        self._connection = self._connect(settings)
        # One ingest or one live writer at a time: two would race for the next file_id.
        self._writing = threading.Lock()
        try:
            self._require_schema(clock)
            if not read_only:
                self._remove_stale_files()
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def unpacking(self) -> Iterator[Path]:
        """Yield a new folder to unpack archives into; it is gone at the end of the block."""
        self.temp_directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_UNPACKED, dir=self.temp_directory) as folder:
            yield Path(folder)
        self._remove_empty_temp_directory()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a new cursor, for the calling thread alone.

        Threads that share one get each other's rows, silently.
        """
        return self._connection.cursor()

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a cursor within a transaction: committed at the end, rolled back when the body raises.

        Writers wait for each other. Temporary tables made on the cursor end with it.
        """
        with self._writing:
            cur = self.cursor()
            try:
                cur.begin()
                try:
                    yield cur
                except BaseException:
                    cur.rollback()
                    raise
                cur.commit()
            except duckdb.FatalException:
                self.when_lost()
                raise
            finally:
                cur.close()

    def release_pages(self) -> None:
        """Give back the memory of more than a few pages that are on the disk, unless they are to be kept."""
        if self._keep_pages:
            return
        cur = self.cursor()
        try:
            held = dict(cur.execute("SELECT tag, memory_usage_bytes FROM duckdb_memory()").fetchall())
            if held["BASE_TABLE"] <= _PAGES_KEPT:
                return
            # A lower limit is what makes DuckDB let go of pages. Rows that are in its log alone stay within it.
            lower = sum(held.values()) - held["BASE_TABLE"] + _PAGES_KEPT // 4
            try:
                # Where it cannot let go of as many, those it could are gone.
                with suppress(duckdb.OutOfMemoryException):
                    cur.execute(f"SET memory_limit = '{lower}B'")
            finally:
                cur.execute(f"SET memory_limit = '{self._memory_limit}'")
        finally:
            cur.close()

    def close(self) -> None:
        """Close the file; cursors end with it."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self, settings: dict[str, Any]) -> duckdb.DuckDBPyConnection:
        try:
            if not self.read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = duckdb.connect(self.path, read_only=self.read_only, config=settings)
            if self.read_only:
                # Last: the temporary directory cannot be set after it.
                connection.execute("SET enable_external_access = false")
            return connection
        except duckdb.IOException as error:
            if "lock" in str(error):
                raise StoreError(
                    f"{self.path} is in use by another process; if that is a server, ask it with --target, "
                    "otherwise wait until it is done"
                ) from error
            if "not a valid DuckDB database" in str(error):
                raise StoreError(f"{self.path} is not a DuckDB database") from error
            raise StoreError(f"{self.path} cannot be opened: {error}") from error
        except duckdb.ConnectionException as error:
            raise StoreError(f"{self.path} is already open in this process") from error
        except (duckdb.Error, OSError) as error:
            raise StoreError(f"{self.path} cannot be opened: {error}") from error

    def _require_schema(self, clock: Callable[[], int]) -> None:
        tables = {name for (name,) in self._connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        if not tables and not self.read_only:
            with self.transaction() as cur:
                cur.execute(_sql_file("schema.sql"))
                cur.execute("INSERT INTO meta VALUES (?, ?)", [SCHEMA_VERSION, clock()])
            return
        if not {"meta", "symbols", "ledger", "flow"} <= tables:
            raise StoreError(f"{self.path} is not a liqserver database: it lacks the tables of the schema")
        versions = self._connection.execute("SELECT schema_version FROM meta").fetchall()
        if len(versions) != 1:
            raise StoreError(f"{self.path} is not a liqserver database: it names {len(versions)} schema versions")
        [(version,)] = versions
        if not 1 <= version <= SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has schema version {version}, this liqserver reads versions 1 to {SCHEMA_VERSION}: "
                "it was written by newer software"
            )
        if version < SCHEMA_VERSION:
            if self.read_only:
                raise StoreError(
                    f"{self.path} has schema version {version} and is open for reading only; "
                    f"`liqserver serve` and `liqserver ingest` bring it to version {SCHEMA_VERSION}"
                )
            self._migrate(version)

    def _remove_stale_files(self) -> None:
        """Remove what killed processes had unpacked: the file is held, so that none of them is alive."""
        stale = list(self.temp_directory.glob(f"{_UNPACKED}*"))
        try:
            for folder in stale:
                shutil.rmtree(folder)
            if stale:
                self._remove_empty_temp_directory()
        except OSError as error:
            raise StoreError(
                f"what a killed process left in {self.temp_directory} cannot be removed: {error}"
            ) from error

    def _remove_empty_temp_directory(self) -> None:
        if not any(self.temp_directory.iterdir()):
            self.temp_directory.rmdir()

    def _migrate(self, version: int) -> None:
        """Bring the tables to the current version, step by step, all or nothing."""
        with self.transaction() as cur:
            for step in range(version + 1, SCHEMA_VERSION + 1):
                cur.execute(_sql_file(f"migrations/to_{step}.sql"))
            cur.execute("UPDATE meta SET schema_version = ?", [SCHEMA_VERSION])


def _sql_file(name: str) -> str:
    return resources.files("liqserver.store").joinpath(name).read_text(encoding="utf-8")
