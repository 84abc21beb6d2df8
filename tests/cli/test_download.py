"""The commands ``download`` and ``update``, from a stand-in of the archive into a database."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import liqclient
from liqserver.cli.download import download, update
from liqserver.simulate.archive import write_archive
from liqserver.simulate.config import SimulationConfig
from liqserver.store.coverage import coverage
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest
from tests.rpc.owned import owned
from tests.store.archive_files import write_file
from tests.store.bucket_server import BucketServer, cut_after, other_body, refused, serving, slowly

app = typer.Typer()
app.command()(download)
app.command()(update)

DAILY = "data/futures/um/daily"
TRADES = f"{DAILY}/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-09-0{{}}.zip"
METRICS = f"{DAILY}/metrics/BTCUSDT/BTCUSDT-metrics-2025-09-0{{}}.zip"
DAYS = ("--start", "2025-09-01", "--end", "2025-09-03")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archive files of three simulated days."""
    out = tmp_path_factory.mktemp("archive")
    write_archive(SimulationConfig(days=3, seed=5, warmup_days=1, trades_per_day=5_000), out)
    # Only what an archive has.
    shutil.rmtree(out / "truth")
    (out / "README.md").unlink()
    return out


@pytest.fixture
def server(archive: Path) -> Iterator[BucketServer]:
    with serving(archive) as bucket:
        yield bucket


def run(server: BucketServer, *arguments: object) -> Result:
    return CliRunner(env={"LIQSERVER_SOURCE": server.address}).invoke(app, [str(a) for a in arguments])


def squeezed(text: str) -> list[str]:
    return [re.sub(r"\s+", " ", line.strip()) for line in text.splitlines() if line.strip()]


def reach(db: Path) -> dict[str, tuple[int, int, int]]:
    """Files, rows and missing periods of each kind."""
    with Database(db, read_only=True) as database:
        found = coverage(database.cursor(), "BINANCE", "BTCUSDT")
    return {str(of.kind): (of.files, of.rows, of.missing_periods + of.missing_ids) for of in found}


def test_from_the_archive_into_the_database(server: BucketServer, tmp_path: Path) -> None:
    server.page_size = 2
    server.add_fault(TRADES.format(2), cut_after(20_000), other_body(b"<html>"))
    result = run(server, "download", "BTCUSDT", *DAYS, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    lines = squeezed(result.stdout)
    assert lines[0] == "symbol kind downloaded received"
    assert [re.sub(r" [\d.]+ \w+$", "", line) for line in lines[2:7]] == [
        "BTCUSDT aggTrades 3",
        "BTCUSDT metrics 3",
        "BTCUSDT markPriceKlines 1m 3",
        "BTCUSDT klines 1m 3",
        "BTCUSDT fundingRate 1",
    ]
    assert re.fullmatch(r"13 files downloaded \([\d.]+ [kM]B\)", lines[-2])
    assert lines[-1] == f"next: liqserver ingest {tmp_path / 'out'}"
    with Database(tmp_path / "x.duckdb") as database:
        report = ingest(database, [tmp_path / "out"])
    assert len(report.of(Status.INGESTED)) == len(report.files) == 13
    found = reach(tmp_path / "x.duckdb")
    assert found["metrics"] == (3, 3 * 288, 0)
    assert found["klines"] == found["markPriceKlines"] == (3, 3 * 1440, 0)
    assert found["fundingRate"][0] == 1
    assert found["aggTrades"][0] == 3
    assert found["aggTrades"][2] == 0

    server.requests.clear()
    again = run(server, "download", "BTCUSDT", *DAYS, "--out", tmp_path / "out")
    assert again.exit_code == 0
    assert squeezed(again.stdout)[-2] == "13 files already there"
    assert server.asked(".zip") == []


def test_what_would_be_downloaded(server: BucketServer, archive: Path, tmp_path: Path) -> None:
    server.hide("BTCUSDT-metrics-2025-09-03")
    arguments = ("download", "BTCUSDT", *DAYS, "--kinds", "aggTrades,metrics", "--out", tmp_path / "out", "--dry-run")
    write_file((tmp_path / "out" / METRICS.format(1)).parent, "BTCUSDT-metrics-2025-09-01.csv", "not the same name")
    shutil.copy(archive / METRICS.format(1), tmp_path / "out" / METRICS.format(1))
    before = sorted(tmp_path.rglob("*"))
    result = run(server, *arguments)
    assert result.exit_code == 0, result.output
    lines = squeezed(result.stdout)
    missing = [TRADES.format(1), TRADES.format(2), TRADES.format(3), METRICS.format(2)]
    sizes = [(archive / key).stat().st_size for key in missing]
    assert lines[2:6] == [f"{key} {size:,}" for key, size in zip(missing, sizes, strict=True)]
    assert lines[6] == "not published: BTCUSDT metrics 2025-09-03: the archive does not list it"
    assert re.fullmatch(r"4 files to download \([\d.]+ [kM]B\), 1 file there in that size", lines[7])
    assert server.asked() == []
    assert sorted(tmp_path.rglob("*")) == before

    answer = json.loads(run(server, *arguments, "--format", "json").stdout)
    assert answer["bytes"] == sum(sizes)
    assert [(f["dates"], f["size"], f["there"]) for f in answer["files"][:1]] == [("2025-09-01", sizes[0], False)]


def test_not_published_is_no_error_unless_nothing_is(server: BucketServer, tmp_path: Path) -> None:
    arguments = ("download", "BTCUSDT", "--kinds", "metrics", "--out", tmp_path / "out")
    result = run(server, *arguments, "--start", "2025-08-29", "--end", "2025-09-02")
    assert result.exit_code == 0, result.output
    words = "BTCUSDT metrics 2025-08-29 … 2025-08-31 (3 files): the archive does not list it"
    assert f"not published: {words}" in squeezed(result.stdout)
    nothing = run(server, *arguments, "--start", "2025-10-01", "--end", "2025-10-31")
    assert nothing.exit_code == 1
    assert "31 files not published" in squeezed(nothing.stdout)
    assert "nothing of what was asked for is published" in nothing.stderr


def test_failures_are_named_and_the_rest_comes(server: BucketServer, tmp_path: Path) -> None:
    server.always(TRADES.format(2), refused(403))
    arguments = ("download", "BTCUSDT", *DAYS, "--kinds", "aggTrades", "--out", tmp_path / "out")
    result = run(server, *arguments)
    assert result.exit_code == 1
    lines = squeezed(result.stdout)
    at = lines.index(f"failed {TRADES.format(2)}")
    assert lines[at + 1] == f"{server.address}/{TRADES.format(2)} answered 403 Forbidden"
    assert re.fullmatch(r"2 files downloaded \(.*\), 1 file failed", lines[at + 2])

    answer = json.loads(run(server, *arguments, "--format", "json").stdout)
    assert answer["counts"] == {"downloaded": 0, "already there": 2, "not published": 0, "failed": 1}
    assert [f["outcome"] for f in answer["files"]] == ["already there", "failed", "already there"]
    assert answer["files"][0]["path"] == str(tmp_path / "out" / TRADES.format(1))
    rows = list(csv.DictReader(run(server, *arguments, "--format", "csv").stdout.splitlines()))
    assert [row["outcome"] for row in rows] == ["already there", "failed", "already there"]
    assert rows[1]["reason"].endswith("answered 403 Forbidden")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("btcusdt", "--start", "2025-09-01"), "symbol was 'btcusdt', must be capital letters and digits"),
        (("BTCUSDT",), "Missing option '--start'"),
        (("BTCUSDT", "--start", "2025-09-01", "--kinds", "ticks"), "--kinds was 'ticks', must be of aggTrades"),
        (("BTCUSDT", "--start", "2025-09-01", "--kinds", ","), "--kinds was ','"),
        (("BTCUSDT", "--start", "2025-09-01", "--interval", "7m"), "interval was '7m', must be one of"),
        (("BTCUSDT", "--start", "2025-09-02", "--end", "2025-09-01"), "--start was 2025-09-02, must not be after"),
        (("BTCUSDT", "--start", "2025-09-01", "--source", "archive"), "address of files was 'archive'"),
        (("BTCUSDT", "--start", "2025-09-01", "--jobs", "99"), "less than or equal to 16"),
    ],
)
def test_what_cannot_be_meant(server: BucketServer, arguments: tuple[str, ...], words: str) -> None:
    result = run(server, "download", *arguments)
    assert result.exit_code == 2
    assert words in re.sub(r"[\s│]+", " ", result.stderr)
    assert server.requests == []


def test_coin_margined_files_have_a_folder_of_their_own(tmp_path: Path) -> None:
    folder = "data/futures/cm/daily/klines/BTCUSD_PERP/5m"
    write_file(tmp_path / "source" / folder, "BTCUSD_PERP-5m-2025-09-01.zip", "any", checksum=True)
    with serving(tmp_path / "source") as server:
        result = run(
            *(server, "download", "BTCUSD_PERP", "--market", "cm", "--kinds", "klines", "--interval", "5m"),
            *("--start", "2025-09-01", "--end", "2025-09-01", "--out", tmp_path / "out"),
        )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / folder / "BTCUSD_PERP-5m-2025-09-01.zip").exists()


def start_with(server: BucketServer, db: Path, folder: Path) -> None:
    """Make a database of what the server has now."""
    assert run(server, "download", "BTCUSDT", *DAYS, "--out", folder).exit_code == 0
    with Database(db) as database:
        ingest(database, [folder])


def test_update_brings_what_was_published_since(server: BucketServer, tmp_path: Path) -> None:
    db = tmp_path / "x.duckdb"
    server.hide("2025-09-03")
    start_with(server, db, tmp_path / "first")
    assert reach(db)["metrics"] == (2, 2 * 288, 0)

    server.publish()
    server.requests.clear()
    result = run(server, "update", "--db", db)
    assert result.exit_code == 0, result.output
    third = [key for key in server.names() if key.endswith("-2025-09-03.zip") and "liquidation" not in key]
    assert sorted(server.asked(".zip")) == third
    assert len(third) == 4
    lines = squeezed(result.stdout)
    assert any(re.fullmatch(r"BTCUSDT metrics 1 288 288 [\d.]+ kB 2025-09-03", line) for line in lines)
    assert any(re.fullmatch(r"BTCUSDT fundingRate 0 0 0 0 bytes 2025-09-30", line) for line in lines)
    assert re.fullmatch(r"4 files downloaded \([\d.]+ kB\), [\d,]+ files not published, 4 files ingested", lines[-1])
    found = reach(db)
    assert found["metrics"] == (3, 3 * 288, 0)
    assert found["aggTrades"][0] == 3
    assert found["aggTrades"][2] == 0
    assert not (tmp_path / "x.duckdb.downloads").exists()

    server.requests.clear()
    again = run(server, "update", "--db", db)
    assert again.exit_code == 0
    assert server.asked() == []
    assert reach(db) == found


def test_update_brings_a_day_that_was_late_and_keeps_files_if_told(server: BucketServer, tmp_path: Path) -> None:
    db = tmp_path / "x.duckdb"
    server.hide("BTCUSDT-metrics-2025-09-02")
    start_with(server, db, tmp_path / "first")
    assert reach(db)["metrics"] == (2, 2 * 288, 288)
    server.publish()
    server.requests.clear()
    dry = json.loads(run(server, "update", "BTCUSDT", "--db", db, "--dry-run", "--format", "json").stdout)
    assert [f["key"] for f in dry["files"] if f["size"] is not None] == [METRICS.format(2)]
    assert server.asked() == []
    result = run(server, "update", "BTCUSDT", "--db", db, "--keep-files", "--format", "json")
    assert result.exit_code == 0, result.output
    assert server.asked(".zip") == [METRICS.format(2)]
    assert reach(db)["metrics"] == (3, 3 * 288, 0)
    assert (tmp_path / "x.duckdb.downloads" / METRICS.format(2)).exists()
    answer = json.loads(result.stdout)
    assert answer["counts"]["downloaded"] == answer["counts"]["ingested"] == 1
    [brought] = [f for f in answer["files"] if f["status"]]
    assert (brought["dates"], brought["status"], brought["rows"]) == ("2025-09-02", "ingested", 288)


def test_update_names_what_it_could_not_do(server: BucketServer, archive: Path, tmp_path: Path) -> None:
    source = shutil.copytree(archive, tmp_path / "source")
    write_file(
        (source / METRICS.format(3)).parent, "BTCUSDT-metrics-2025-09-03.zip", "no,metrics\n1,2\n", checksum=True
    )
    db = tmp_path / "x.duckdb"
    with serving(source) as other:
        other.hide("2025-09-03")
        start_with(other, db, tmp_path / "first")
        other.publish()
        other.always(TRADES.format(3), refused(403))
        result = run(other, "update", "--db", db)
        assert result.exit_code == 1
        lines = squeezed(result.stdout)
        assert f"failed {TRADES.format(3)}" in lines
        rejected = lines.index(f"rejected {tmp_path / 'x.duckdb.downloads' / METRICS.format(3)}")
        assert lines[rejected + 1].startswith("line 1: columns were no,metrics, must be create_time")
        assert re.search(r"1 file failed, 2 files ingested, 1 file rejected$", lines[-1])
        # What was rejected stays to be looked at, the rest goes.
        left = [path.name for path in (tmp_path / "x.duckdb.downloads").rglob("*.zip")]
        assert left == ["BTCUSDT-metrics-2025-09-03.zip"]


def test_update_without_a_database_or_a_source(server: BucketServer, tmp_path: Path) -> None:
    nothing = run(server, "update", "--db", tmp_path / "x.duckdb")
    assert nothing.exit_code == 2
    assert f"there is no database at {tmp_path / 'x.duckdb'}" in nothing.stderr
    start_with(server, tmp_path / "x.duckdb", tmp_path / "first")
    unknown = run(server, "update", "ETHUSDT", "--db", tmp_path / "x.duckdb")
    assert unknown.exit_code == 2
    assert "no archive files of BINANCE ETHUSDT to go on from" in unknown.stderr
    server.always("", other_body(b"<html>"))
    page = run(server, "update", "--db", tmp_path / "x.duckdb")
    assert page.exit_code == 2
    assert "no listing of a bucket" in page.stderr
    with Database(tmp_path / "x.duckdb"):
        code = "import typer; from liqserver.cli.download import update; typer.run(update)"
        held = subprocess.run(
            [sys.executable, "-c", code, "--db", tmp_path / "x.duckdb", "--source", server.address],
            capture_output=True,
            text=True,
        )
    assert held.returncode == 2
    assert "is in use by another process" in held.stderr


def test_update_of_a_server_that_goes_on_answering(server: BucketServer, tmp_path: Path) -> None:
    db = tmp_path / "x.duckdb"
    server.hide("2025-09-03")
    start_with(server, db, tmp_path / "first")
    server.publish()
    server.requests.clear()
    arguments = ("update", "BTCUSDT", "--out", tmp_path / "new")
    with owned(db) as target, liqclient.Client(target) as client:
        before = client.levels("BTCUSDT").provenance.as_of
        result = run(server, *arguments, "--target", target)
        assert result.exit_code == 0, result.output
        assert client.levels("BTCUSDT").provenance.as_of == before + 86_400_000_000_000
        lines = squeezed(result.stdout)
        assert any(re.fullmatch(r"BTCUSDT metrics 1 288 288 [\d.]+ kB 2025-09-03", line) for line in lines)
        assert re.fullmatch(
            r"4 files downloaded \([\d.]+ kB\), [\d,]+ files not published, 4 files ingested", lines[-1]
        )
        assert len(server.asked(".zip")) == 4
        assert not (tmp_path / "new").exists()

        server.requests.clear()
        again = run(server, *arguments, "--target", target, "--format", "json")
        assert again.exit_code == 0
        assert server.asked() == []
        assert json.loads(again.stdout)["counts"]["ingested"] == 0

        unknown = run(server, "update", "ETHUSDT", "--target", target)
        assert unknown.exit_code == 2
        assert "no archive files of BINANCE ETHUSDT to go on from" in unknown.stderr
        both = run(server, *arguments, "--target", target, "--db", db)
        assert both.exit_code == 2
        assert "not both" in both.stderr
    found = reach(db)
    assert found["metrics"] == (3, 3 * 288, 0)
    assert found["aggTrades"][0] == 3
    gone = run(server, *arguments, "--target", target)
    assert gone.exit_code == 2
    assert "liqserver serve" in gone.stderr


def test_update_of_a_server_without_files_has_nothing_to_go_on_from(server: BucketServer, tmp_path: Path) -> None:
    with owned(tmp_path / "x.duckdb") as target:
        empty = run(server, "update", "--target", target)
    assert empty.exit_code == 2
    assert "the database has no archive files of BINANCE to go on from" in empty.stderr
    assert server.requests == []


def test_a_killed_download_goes_on_where_it_was(server: BucketServer, tmp_path: Path) -> None:
    key = TRADES.format(2)
    whole = server.folder / key
    server.add_fault(key, slowly(10_000, 0.1))
    code = "import typer; from liqserver.cli.download import download; typer.run(download)"
    command = [sys.executable, "-c", code, "BTCUSDT", *DAYS, "--kinds", "aggTrades", "--jobs", "1"]
    command += ["--out", str(tmp_path), "--source", server.address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 60
        while not (sum(path.stat().st_size for path in tmp_path.rglob("*-02.zip.*.part")) >= 20_000):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / TRADES.format(1)).exists()
    assert not (tmp_path / key).exists()
    [part] = tmp_path.rglob("*.part")
    have = part.stat().st_size
    assert 20_000 <= have < whole.stat().st_size

    server.requests.clear()
    again = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=True)
    files = json.loads(again.stdout)["files"]
    assert [f["outcome"] for f in files] == ["already there", "downloaded", "downloaded"]
    assert files[1]["received"] == whole.stat().st_size - have
    assert [request.range for request in server.requests if request.key == key] == [f"bytes={have}-"]
    assert (tmp_path / key).read_bytes() == whole.read_bytes()
    assert list(tmp_path.rglob("*.part")) == []
