"""Faults from outside, in real processes: killed, no room, files that change, several at once, a clock set back.

After each of them a file is in as a whole or not at all, and the same command again completes what is missing.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

import liqclient
from liqserver.simulate.archive import write_archive
from liqserver.simulate.config import SimulationConfig
from liqserver.store.database import Database, StoreError
from liqserver.store.ingest import Status, ingest
from tests.rpc.owned import owned

LIQSERVER = (sys.executable, "-m", "liqserver.cli")
# Begins in a fraction of the time.
BARE_INGEST = """
import sys
from pathlib import Path
from liqserver.store.database import Database
from liqserver.store.ingest import ingest

with Database(Path(sys.argv[1])) as database:
    ingest(database, [Path(sys.argv[2])])
"""
# What tells of the ingest rather than of the data.
OF_INGEST = {"file_id", "ingested_at", "created_at", "loaded_at"}
KILLS_OF_A_DATABASE, DATABASES = 4, 5


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archive files of five simulated days."""
    out = tmp_path_factory.mktemp("faults") / "archive"
    write_archive(SimulationConfig(days=5, seed=11, trades_per_day=60_000, warmup_days=1), out)
    return out / "data"


@pytest.fixture(scope="module")
def trades(archive: Path) -> list[Path]:
    """The files of trades among them, in order."""
    return sorted(archive.rglob("*aggTrades*.zip"))


@pytest.fixture(scope="module")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], float]:
    """The tables when nothing goes wrong, and the seconds that the ingest takes."""
    path = tmp_path_factory.mktemp("undisturbed") / "x.duckdb"
    with Database(path) as database:
        began = time.monotonic()
        ingest(database, [archive])
        seconds = time.monotonic() - began
    return tables(path), seconds


def tables(path: Path) -> dict[str, list[str]]:
    """Return the ordered rows of every table, as text, in which one NaN is like the other."""
    with duckdb.connect(path, read_only=True) as con:
        names = [name for (name,) in con.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
        contents = {}
        for name in names:
            columns = [column for column, *_ in con.execute(f"DESCRIBE {name}").fetchall()]
            kept = ", ".join(column for column in columns if column not in OF_INGEST)
            contents[name] = [str(row) for row in con.execute(f"SELECT {kept} FROM {name} ORDER BY ALL").fetchall()]
    assert contents["ledger"]
    return contents


def command(db: Path, *paths: Path) -> list[str]:
    return [*LIQSERVER, "ingest", *map(str, paths), "--db", str(db)]


def run(arguments: list[str], limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, which may write files of at most ``limit`` bytes."""

    def prepare() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(arguments, capture_output=True, text=True, preexec_fn=prepare, timeout=60)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.splitlines()[-1]


def one_line_of_error(done: subprocess.CompletedProcess[str]) -> str:
    [line] = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith("error: ")
    return line


def wait_until(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < until
        time.sleep(0.002)


@contextmanager
def ingesting(db: Path, archive: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that has begun to ingest; it is killed when the block leaves it running."""
    unpacked = db.with_name(f"{db.name}.tmp")
    before = set(unpacked.glob("ingest-*"))
    with subprocess.Popen([sys.executable, "-c", BARE_INGEST, str(db), str(archive)]) as process:
        try:
            wait_until(lambda: bool(set(unpacked.glob("ingest-*")) - before), process)
            yield process
        finally:
            process.kill()


# --- killed ----------------------------------------------------------------------------------------------------


def test_killed_at_random_moments_a_rerun_completes_it(
    archive: Path, undisturbed: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    expected, seconds = undisturbed
    moments = random.Random(3)
    killed, cut_short = 0, 0
    for n in range(DATABASES):
        db = tmp_path / f"{n}.duckdb"
        for _ in range(KILLS_OF_A_DATABASE):
            with ingesting(db, archive) as process:
                # What is in already is only hashed again, so that most kills find something left to do.
                time.sleep(moments.uniform(0, seconds / 2))
                process.send_signal(signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
            with Database(db) as database:
                cur = database.cursor()
                [(files,)] = cur.execute("SELECT count(*) FROM ledger").fetchall()
                [(rows,)] = cur.execute("SELECT coalesce(sum(rows), 0) FROM ledger WHERE kind = 'aggTrades'").fetchall()
                [(counted,)] = cur.execute("SELECT coalesce(sum(buy_count + sell_count), 0) FROM flow").fetchall()
            cut_short += 0 < files < len(expected["ledger"])
            # Every trade of the files that the ledger has, and no other.
            assert rows == counted
        with Database(db) as database:
            ingest(database, [archive])
        assert tables(db) == expected
    # A kill may come after the last file, but not as a rule.
    assert killed >= KILLS_OF_A_DATABASE * DATABASES * 3 // 4
    assert cut_short >= KILLS_OF_A_DATABASE * DATABASES // 4


def test_what_a_killed_ingest_had_unpacked_is_gone_when_the_database_is_next_opened_for_writing(
    archive: Path, tmp_path: Path
) -> None:
    db = tmp_path / "x.duckdb"
    unpacked = tmp_path / "x.duckdb.tmp"
    with ingesting(db, archive) as process:
        wait_until(lambda: bool(list(unpacked.glob("ingest-*/*.csv"))), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = list(unpacked.glob("ingest-*"))
    assert left
    with Database(db, read_only=True):
        # It might belong to an ingest that runs.
        assert list(unpacked.glob("ingest-*")) == left
    (unpacked / "of-somebody-else").touch()
    with Database(db):
        assert [path.name for path in unpacked.iterdir()] == ["of-somebody-else"]
    (unpacked / "of-somebody-else").unlink()
    (unpacked / "ingest-stale").mkdir()
    with Database(db):
        assert not unpacked.exists()


def test_a_second_writer_of_one_process_is_refused_and_leaves_what_the_first_unpacked(tmp_path: Path) -> None:
    with Database(tmp_path / "x.duckdb") as database, database.unpacking() as folder:
        (folder / "file.csv").touch()
        with pytest.raises(StoreError, match="is already open in this process"):
            Database(tmp_path / "x.duckdb")
        assert (folder / "file.csv").exists()
    assert not (tmp_path / "x.duckdb.tmp").exists()


# --- no room ---------------------------------------------------------------------------------------------------


def test_file_size_limit_ends_it_with_one_line_and_a_rerun_completes_it(
    archive: Path, trades: list[Path], undisturbed: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    largest = max(_inflated(path) for path in trades)
    # First there is no room to inflate, then none for the tables.
    for n, limit in enumerate((largest // 2, 300_000)):
        db = tmp_path / f"{n}.duckdb"
        paths = [archive] if n == 0 else [_unpacked(path, tmp_path / "csv") for path in trades]
        stopped = run(command(db, *paths), limit)
        assert stopped.returncode == 2
        assert stopped.stdout == ""
        line = one_line_of_error(stopped)
        assert f"could not be written to {db}" in line
        assert "File too large" in line
        again = run(command(db, *paths))
        assert again.returncode == 0
        if n == 0:
            assert tables(db) == undisturbed[0]
        else:
            assert _of_trades(tables(db)) == _of_trades(undisturbed[0])


def test_no_room_when_the_log_is_written_back_loses_nothing(
    archive: Path, undisturbed: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    db = tmp_path / "x.duckdb"
    with Database(db) as database:
        ingest(database, archive.rglob("*2025-09-01.zip"))
    # Written back after every file, into a database that may not grow.
    script = BARE_INGEST.replace(
        "    ingest(", "    database.cursor().execute(\"SET checkpoint_threshold = '1KB'\")\n    ingest("
    )
    csvs = tmp_path / "csv"
    for path in sorted(archive.rglob("*aggTrades*.zip")):
        _unpacked(path, csvs)
    stopped = run([sys.executable, "-c", script, str(db), str(csvs)], db.stat().st_size + 10_000)
    assert stopped.returncode != 0
    assert "StoreError: BTCUSDT-aggTrades-2025-09-02.csv could not be written to" in stopped.stderr
    with Database(db) as database:
        report = ingest(database, [archive])
        assert not report.of(Status.REJECTED)
    assert tables(db) == undisturbed[0]


def test_full_disk_ends_it_with_one_line_and_a_rerun_completes_it(
    archive: Path, undisturbed: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    """A file system of its own in a mount namespace of its own, gone with the processes in it."""
    (tmp_path / "disk").mkdir()
    namespace = ["unshare", "--mount", "--map-root-user"]
    mount = f"mount -t tmpfs -o size=3m tmpfs {tmp_path}/disk"
    try:
        allowed = run([*namespace, "sh", "-c", mount])
    except FileNotFoundError:
        pytest.skip("there is no unshare(1) to mount a small file system with")
    if allowed.returncode:
        pytest.skip(f"mounting a small file system is not allowed here: {allowed.stderr.strip()}")
    ingest_there = " ".join(command(tmp_path / "disk" / "x.duckdb", archive))
    script = f"""
        {mount} || exit 90
        {ingest_there}; echo "full: $?"; {ingest_there} 2>/dev/null; echo "full again: $?"
        mount -o remount,size=100m {tmp_path}/disk
        {ingest_there}; echo "room: $?"
        cp {tmp_path}/disk/x.duckdb {tmp_path}/copy.duckdb; ls {tmp_path}/disk
    """
    done = run([*namespace, "sh", "-c", script])
    line = one_line_of_error(done)
    assert f"could not be written to {tmp_path}/disk/x.duckdb" in line
    assert "No space left on device" in line
    said = done.stdout.splitlines()
    assert said[:2] == ["full: 2", "full again: 2"]
    assert said[-2:] == ["room: 0", "x.duckdb"]
    assert tables(tmp_path / "copy.duckdb") == undisturbed[0]


def test_server_whose_disk_is_full_says_so_and_goes_on(
    archive: Path, undisturbed: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    db = tmp_path / "x.duckdb"
    serve = [*LIQSERVER, "serve", "--db", str(db), "--port", "0", "--print-target"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            with liqclient.Client(server.stdout.readline().strip()) as client:
                list(client.ingest(archive.rglob("*2025-09-01.zip")))
                before = client.levels("BTCUSDT")
                unlimited = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
                resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
                with pytest.raises(liqclient.FailedPrecondition, match="File too large"):
                    list(client.ingest([archive]))
                # It answers on, from what is in.
                assert client.levels("BTCUSDT").provenance.inputs_hash == before.provenance.inputs_hash
                resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)
                statuses = [at.file.status for at in client.ingest([archive]) if at.file]
                assert set(statuses) == {"ingested", "already ingested"}
                assert client.levels("BTCUSDT").provenance.as_of > before.provenance.as_of
        finally:
            server.terminate()
        assert server.wait(30) == 0
    assert tables(db) == undisturbed[0]


def test_server_that_has_no_room_to_write_its_log_back_ends_with_an_error_and_a_new_one_goes_on(
    archive: Path, undisturbed: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    db = tmp_path / "x.duckdb"
    with Database(db) as database:
        ingest(database, archive.rglob("*2025-09-01.zip"))
    # It writes its log back after every file.
    script = """
from liqserver.cli import main
from liqserver.store.database import Database

connect = Database._connect
Database._connect = lambda self, settings: connect(self, settings | {"checkpoint_threshold": "1KB"})
main()
"""
    serve = [sys.executable, "-c", script, "serve", "--db", str(db), "--port", "0", "--print-target"]
    csvs = [_unpacked(path, tmp_path / "csv") for path in archive.rglob("*2025-09-02.zip") if "aggTrades" in path.name]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            with liqclient.Client(server.stdout.readline().strip()) as client:
                unlimited = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)[1]
                resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (db.stat().st_size + 10_000, unlimited))
                with pytest.raises(liqclient.FailedPrecondition, match="could not be written to"):
                    list(client.ingest(csvs))
            said = server.communicate(timeout=30)[1]
        finally:
            server.kill()
    assert server.returncode == 1
    assert "make room on its disk and start the server again" in " ".join(said.split())
    with owned(db) as target, liqclient.Client(target) as client:
        list(client.ingest([archive]))
    assert tables(db) == undisturbed[0]


def _inflated(path: Path) -> int:
    with zipfile.ZipFile(path) as packed:
        return packed.infolist()[0].file_size


def _unpacked(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as packed:
        return Path(packed.extract(packed.infolist()[0], folder))


def _of_trades(of: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: of[name] for name in ("flow", "large_trades", "trade_ranges")}


# --- files that are not what they were, or ought to be -----------------------------------------------------------


def test_file_that_grows_while_it_is_read_is_rejected_and_goes_in_when_complete(
    trades: list[Path], undisturbed: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    files = [_unpacked(path, tmp_path / "csv") for path in trades]
    lines = files[1].read_bytes().splitlines(keepends=True)
    files[1].write_bytes(b"".join(lines[: len(lines) // 2]))
    over = threading.Event()

    def grow() -> None:
        with files[1].open("ab") as growing:
            # One line after the other until the ingest is over, then what is left.
            for line in lines[len(lines) // 2 :]:
                growing.write(line)
                growing.flush()
                over.wait(0.005)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        first = run(command(tmp_path / "x.duckdb", *files))
    finally:
        over.set()
        writer.join()
    assert first.returncode == 1
    assert f"rejected {files[1]}\n  it changed while it was read: ingest it again when it is complete" in first.stdout
    assert last_line(first) == "4 files ingested, 1 file rejected"
    again = run(command(tmp_path / "x.duckdb", *files))
    assert last_line(again) == "1 file ingested, 4 files already ingested"
    assert _of_trades(tables(tmp_path / "x.duckdb")) == _of_trades(undisturbed[0])


def test_file_that_is_put_in_the_place_of_another_while_it_is_read_is_rejected(
    trades: list[Path], tmp_path: Path
) -> None:
    path = Path(shutil.copy(trades[0], tmp_path))

    def clock() -> int:
        # Asked for the time of ingestion: after the rows went in, before they are committed.
        shutil.copy(trades[0], tmp_path / "other")
        os.replace(tmp_path / "other", path)
        return time.time_ns()

    with Database(tmp_path / "x.duckdb") as database:
        [changed] = ingest(database, [path], clock=clock).files
        assert changed.status is Status.REJECTED
        assert "changed while it was read" in changed.reason
        assert database.cursor().execute("SELECT count(*) FROM flow").fetchall() == [(0,)]
        assert [file.status for file in ingest(database, [path]).files] == [Status.INGESTED]


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_truncated_zip_is_rejected_and_goes_in_when_whole(
    trades: list[Path], undisturbed: tuple[dict[str, list[str]], float], tmp_path: Path, kept: float
) -> None:
    cut = tmp_path / trades[0].name
    whole = trades[0].read_bytes()
    cut.write_bytes(whole[: int(len(whole) * kept)])
    with Database(tmp_path / "x.duckdb") as database:
        report = ingest(database, [cut, *trades[1:]])
        [rejected] = report.of(Status.REJECTED)
        assert rejected.path == cut
        assert "damaged or incomplete" in rejected.reason
        assert len(report.of(Status.INGESTED)) == len(trades) - 1
        cut.write_bytes(whole)
        assert [file.status for file in ingest(database, [cut]).files] == [Status.INGESTED]
    assert not (tmp_path / "x.duckdb.tmp").exists()
    assert _of_trades(tables(tmp_path / "x.duckdb")) == _of_trades(undisturbed[0])


# --- two at once -------------------------------------------------------------------------------------------------


def test_second_process_gets_a_clear_error_and_disturbs_nothing(
    archive: Path, undisturbed: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    db = tmp_path / "x.duckdb"
    with ingesting(db, archive) as first:
        # Stopped where it is, so that it is surely not done before the second begins.
        first.send_signal(signal.SIGSTOP)
        second = run(command(db, archive))
        first.send_signal(signal.SIGCONT)
        assert first.wait(60) == 0
    assert second.returncode == 2
    assert second.stdout == ""
    line = one_line_of_error(second)
    assert f"{db} is in use by another process" in line
    assert "--target" in line
    assert tables(db) == undisturbed[0]


def test_two_ingests_of_a_server_are_done_one_after_the_other(
    archive: Path, undisturbed: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    db = tmp_path / "x.duckdb"
    with owned(db) as target:
        both = [
            subprocess.Popen(
                [*LIQSERVER, "ingest", str(archive), "--target", target], stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    files = len(undisturbed[0]["ledger"])
    assert sorted(text.splitlines()[-1] for text in said) == [
        f"{files} files already ingested",
        f"{files} files ingested",
    ]
    assert tables(db) == undisturbed[0]


# --- a clock that is wrong ---------------------------------------------------------------------------------------


def test_clock_that_is_set_back_changes_nothing_but_the_times_of_ingestion(
    archive: Path, undisturbed: tuple[dict[str, list[str]], float], tmp_path: Path
) -> None:
    db = tmp_path / "x.duckdb"
    late, early = 1_900_000_000_000_000_000, 1_000_000_000
    times = iter([late] * 10 + [early] * 1_000)
    with Database(db, clock=lambda: late) as database:
        report = ingest(database, [archive], clock=lambda: next(times))
        assert not report.of(Status.REJECTED)
        stamps = database.cursor().execute("SELECT ingested_at FROM ledger ORDER BY file_id").fetchall()
    files = len(undisturbed[0]["ledger"])
    assert stamps == [(late,)] * 10 + [(early,)] * (files - 10)
    assert tables(db) == undisturbed[0]
    with Database(db, clock=lambda: early) as database:
        again = ingest(database, [archive], clock=lambda: early)
        assert len(again.of(Status.ALREADY_INGESTED)) == files
    with owned(db) as target, liqclient.Client(target) as client:
        assert [file.ingested_at for file in client.files()] == [stamp for (stamp,) in stamps]
        assert client.levels("BTCUSDT").price.size
