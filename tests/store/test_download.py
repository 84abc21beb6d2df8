"""Downloads from a stand-in of the archive, over real connections."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from liqserver.store.archive import Kind, find_files, sha256_of
from liqserver.store.bucket import Bucket, Source, SourceError
from liqserver.store.database import Database
from liqserver.store.download import (
    DownloadError,
    DownloadReport,
    Market,
    Outcome,
    Progress,
    RemoteFile,
    Series,
    Wanted,
    days_between,
    days_missing,
    download,
    ledger_rows,
    plan,
)
from liqserver.store.ingest import ingest
from tests.store.archive_files import DAY, DAY_MS, candle, metric, text_of, trades, write_file
from tests.store.bucket_server import Answer, BucketServer, cut_after, other_body, refused, serving, slowly

TRADES = Series(Market.USD_M, "BTCUSDT", Kind.AGG_TRADES)
MARK = Series(Market.USD_M, "BTCUSDT", Kind.MARK_PRICE_KLINES, "1m")
METRICS = Series(Market.USD_M, "BTCUSDT", Kind.METRICS)
FUNDING = Series(Market.USD_M, "BTCUSDT", Kind.FUNDING_RATE)
TODAY = date(2026, 2, 4)
SIZE = 300_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BucketServer]:
    folder = tmp_path / "source"
    folder.mkdir()
    with serving(folder) as bucket:
        yield bucket


@pytest.fixture
def bucket(server: BucketServer) -> Iterator[Bucket]:
    with Bucket(Source(server.address, server.address), connections=4, first_wait=0.01) as asked:
        yield asked


def put(server: BucketServer, series: Series, *dates: str, size: int = SIZE, seed: int = 0) -> None:
    """Publish files of noise: what is in them is nothing to a download."""
    for of in dates:
        path = server.folder / series.key(of)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(f"{path.name} {seed}").randbytes(size))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name(path.name + ".CHECKSUM").write_text(f"{digest}  {path.name}\n")


def file(series: Series, dates: str, size: int = SIZE) -> RemoteFile:
    return RemoteFile(series, dates, size)


def bring(bucket: Bucket, out: Path, *files: RemoteFile, jobs: int = 1) -> DownloadReport:
    return download(bucket, files, out, jobs=jobs)


def parts(out: Path) -> list[str]:
    return [path.name for path in out.rglob("*.part")]


def same(server: BucketServer, out: Path, key: str) -> bool:
    return (out / key).read_bytes() == (server.folder / key).read_bytes()


# --- names and plans -------------------------------------------------------------------------------------------


def test_names_are_those_of_the_archive(shared_data: Path) -> None:
    found = 0
    for name in ("binance-btc-2025-12", "hyperliquid-btc-ticks"):
        root = shared_data / name
        for path in root.rglob("data/**/*.zip"):
            kind, symbol, *interval = path.parts[path.parts.index("um") + 2 : -1]
            dates = path.stem.removeprefix(f"{symbol}-{interval[0] if interval else kind}-")
            series = Series(Market.USD_M, symbol, Kind(kind), *interval)
            assert series.key(dates) == path.relative_to(root).as_posix()
            found += 1
    assert found > 80


def test_whole_past_months_by_the_month_and_the_rest_by_the_day(server: BucketServer, bucket: Bucket) -> None:
    put(server, TRADES, "2025-11", "2025-12", "2026-01", size=10)
    put(server, TRADES, *(d.isoformat() for d in sorted(days_between(date(2025, 11, 1), date(2026, 2, 2)))), size=20)
    wanted = Wanted(TRADES, days_between(date(2025, 11, 29), date(2026, 2, 3)))
    files = plan(bucket, [wanted])
    assert [(f.dates, f.size) for f in files] == [
        *(("2025-11-29", 20), ("2025-11-30", 20)),
        *(("2025-12", 10), ("2026-01", 10)),
        *(("2026-02-01", 20), ("2026-02-02", 20), ("2026-02-03", None)),
    ]


def test_days_where_the_month_is_not_there_yet(server: BucketServer, bucket: Bucket) -> None:
    january = sorted(days_between(date(2026, 1, 1), date(2026, 1, 31)))
    put(server, MARK, "2025-12", *(day.isoformat() for day in january if day.day != 17), size=5)
    files = plan(bucket, [Wanted(MARK, days_between(date(2025, 12, 1), january[-1]))])
    assert [f.dates for f in files] == ["2025-12", *(day.isoformat() for day in january)]
    assert [f.dates for f in files if f.size is None] == ["2026-01-17"]
    assert files[1].key == "data/futures/um/daily/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2026-01-01.zip"


def test_kinds_that_have_only_one_of_both(server: BucketServer, bucket: Bucket) -> None:
    put(server, FUNDING, "2025-12", size=5)
    put(server, METRICS, *(day.isoformat() for day in days_between(date(2025, 12, 1), date(2025, 12, 31))), size=6)
    days = days_between(date(2025, 12, 1), date(2026, 1, 2))
    funding, metrics = (plan(bucket, [Wanted(series, days)]) for series in (FUNDING, METRICS))
    assert [(f.dates, f.size) for f in funding] == [("2025-12", 5), ("2026-01", None)]
    assert len(metrics) == 33
    assert [f.dates for f in metrics if f.size is None] == ["2026-01-01", "2026-01-02"]
    # Of a month of which only a day is wanted, what has no days comes as a whole.
    [only] = plan(bucket, [Wanted(FUNDING, frozenset({date(2025, 12, 9)}))])
    assert only.dates == "2025-12"


def test_a_listing_of_many_pages(server: BucketServer, bucket: Bucket) -> None:
    days = sorted(days_between(date(2025, 12, 1), date(2025, 12, 20)))
    put(server, TRADES, *(day.isoformat() for day in days), size=3)
    # A symbol whose name begins the same must not slip in.
    put(server, Series(Market.USD_M, "BTCUSDT_260327", Kind.AGG_TRADES), "2025-12-05", size=9)
    server.page_size = 3
    files = plan(bucket, [Wanted(TRADES, frozenset(days[4:16]))])
    assert [(f.dates, f.size) for f in files] == [(day.isoformat(), 3) for day in days[4:16]]
    # 12 days with their checksums in pages of 3, and not those before and after.
    assert len(server.requests) == 8
    assert server.requests[0].query["start-after"][0].endswith("BTCUSDT-aggTrades-2025-12-05.zi")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><body>hello</body></html>", "'html', which is no listing of a bucket"),
        (b"nothing like it", "something that is no listing of a bucket"),
        (b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>", "an entry without name or size"),
        (b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", "no way to the next"),
    ],
)
def test_what_is_no_listing(server: BucketServer, bucket: Bucket, body: bytes, words: str) -> None:
    server.always("", other_body(body))
    with pytest.raises(SourceError, match=words):
        bucket.sizes("data/")


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with serving(tmp_path) as closed:
        gone = closed.address
    began = time.monotonic()
    with (
        Bucket(Source(gone, gone), attempts=3, first_wait=0.1) as bucket,
        pytest.raises(SourceError, match=r"cannot be reached: .*refused.*\(3 attempts\)"),
    ):
        bucket.sizes("data/")
    # Two waits of at least half of 0.1 and 0.2 seconds.
    assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize("address", ["data.binance.vision", "ftp://host/x", "https://", "https://host/?a=b"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ValueError, match=r"address of files was .*, must be like https://host"):
        Source(address, "https://host")


@pytest.mark.parametrize(
    ("symbol", "kind", "interval", "words"),
    [
        ("btcusdt", Kind.METRICS, "", "symbol was 'btcusdt', must be capital letters"),
        ("../BTCUSDT", Kind.METRICS, "", "symbol was '../BTCUSDT'"),
        ("BTCUSDT", Kind.KLINES, "", "interval was '' for klines"),
        ("BTCUSDT", Kind.METRICS, "1m", "interval was '1m' for metrics"),
        ("BTCUSDT", Kind.KLINES, "7m", "interval was '7m', must be one of 1m, 3m"),
        ("BTCUSDT", Kind.FORCE_ORDERS, "", "kind was forceOrders"),
    ],
)
def test_series_that_there_are_not(symbol: str, kind: Kind, interval: str, words: str) -> None:
    with pytest.raises(DownloadError, match=words):
        Series(Market.USD_M, symbol, kind, interval)


# --- files -----------------------------------------------------------------------------------------------------


def test_files_come_with_their_checksums_in_the_layout_of_the_archive(
    server: BucketServer, bucket: Bucket, tmp_path: Path
) -> None:
    put(server, TRADES, "2025-12-01", "2025-12-02")
    put(server, FUNDING, "2025-12", size=70)
    said: list[Progress] = []
    files = [file(TRADES, "2025-12-01"), file(TRADES, "2025-12-02"), file(FUNDING, "2025-12", 70)]
    report = download(bucket, files, tmp_path / "out", jobs=2, progress=said.append)
    assert [f.outcome for f in report.files] == [Outcome.DOWNLOADED] * 3
    assert [f.received for f in report.files] == [SIZE, SIZE, 70]
    there = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in there) == server.names()
    assert all(same(server, tmp_path / "out", key) for key in server.names())
    assert said[0] == Progress(0, 3, 0, 2 * SIZE + 70)
    assert said[-1] == Progress(3, 3, 2 * SIZE + 70, 2 * SIZE + 70)
    assert [p.bytes_done for p in said] == sorted(p.bytes_done for p in said)
    # As ingest looks at them: names that mean something, checksums that agree.
    readable, unread = find_files([tmp_path / "out"])
    assert len(readable) == 3
    assert not unread
    assert all(sha256_of(f.path) for f in readable)


def test_what_is_there_is_verified_and_left_alone(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01", "2025-12-02", "2025-12-03")
    days = [file(TRADES, f"2025-12-0{day}") for day in (1, 2, 3)]
    bring(bucket, tmp_path, *days)
    (tmp_path / days[1].key).write_bytes(bytes(SIZE))
    put(server, TRADES, "2025-12-03", seed=1)
    server.requests.clear()
    said: list[Progress] = []
    report = download(bucket, days, tmp_path, jobs=1, progress=said.append)
    # The second was damaged here, the third was published anew.
    assert [f.outcome for f in report.files] == [Outcome.ALREADY_THERE, Outcome.DOWNLOADED, Outcome.DOWNLOADED]
    assert server.asked(".zip") == [days[1].key, days[2].key]
    assert all(same(server, tmp_path, key) for key in server.names())
    assert said[-1] == Progress(3, 3, 2 * SIZE, 2 * SIZE)


def test_a_body_that_is_cut_goes_on_where_it_ended(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01")
    day = file(TRADES, "2025-12-01")
    server.add_fault(day.key, cut_after(100_000), cut_after(50_000), cut_after(0))
    said: list[Progress] = []
    report = download(bucket, [day], tmp_path, progress=said.append)
    assert report.files[0].outcome is Outcome.DOWNLOADED
    assert same(server, tmp_path, day.key)
    ranges = [request.range for request in server.requests if request.key == day.key]
    assert ranges == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert report.files[0].received == SIZE
    assert said[-1] == Progress(1, 1, SIZE, SIZE)


def test_a_source_without_ranges_begins_anew(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01")
    day = file(TRADES, "2025-12-01")
    server.ranges = False
    server.add_fault(day.key, cut_after(100_000))
    said: list[Progress] = []
    report = download(bucket, [day], tmp_path, progress=said.append)
    assert same(server, tmp_path, day.key)
    assert report.files[0].received == SIZE + 100_000
    assert said[-1] == Progress(1, 1, SIZE + 100_000, SIZE + 100_000)


def test_a_cut_that_comes_again_and_again_is_given_up_and_what_came_stays(server: BucketServer, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01", "2025-12-02")
    day, next_day = file(TRADES, "2025-12-01"), file(TRADES, "2025-12-02")
    server.always(day.key, cut_after(1_000))
    with Bucket(Source(server.address, server.address), attempts=3, first_wait=0.001) as bucket:
        report = bring(bucket, tmp_path, day, next_day)
        assert [f.outcome for f in report.files] == [Outcome.FAILED, Outcome.DOWNLOADED]
        assert "broke off" in report.files[0].reason
        assert "(3 attempts)" in report.files[0].reason
        assert not (tmp_path / day.key).exists()
        [part] = parts(tmp_path)
        assert part.startswith("BTCUSDT-aggTrades-2025-12-01.zip.")
        server.always(day.key, slowly(1 << 20, 0))
        again = bring(bucket, tmp_path, day)
    assert again.files[0].received == SIZE - 3_000
    assert same(server, tmp_path, day.key)
    assert parts(tmp_path) == []


def test_a_file_that_changed_at_the_source_begins_anew(server: BucketServer, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01")
    day = file(TRADES, "2025-12-01")
    server.add_fault(day.key, cut_after(100_000))
    with Bucket(Source(server.address, server.address), attempts=1) as bucket:
        assert bring(bucket, tmp_path, day).files[0].outcome is Outcome.FAILED
        put(server, TRADES, "2025-12-01", seed=1)
        server.requests.clear()
        assert bring(bucket, tmp_path, day).files[0].outcome is Outcome.DOWNLOADED
    assert [request.range for request in server.requests if request.key == day.key] == [None]
    assert same(server, tmp_path, day.key)
    assert parts(tmp_path) == []


def test_a_file_that_changes_under_way_begins_anew(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01")
    day = file(TRADES, "2025-12-01")

    def cut_and_change(answer: Answer) -> None:
        cut_after(100_000)(answer)
        put(server, TRADES, "2025-12-01", size=80_000, seed=1)

    server.add_fault(day.key, cut_and_change)
    report = bring(bucket, tmp_path, day)
    assert report.files[0].outcome is Outcome.DOWNLOADED
    assert same(server, tmp_path, day.key)
    assert same(server, tmp_path, f"{day.key}.CHECKSUM")
    # The rest, which the new one does not have; the new one, which is not what was stated; the new one as it is stated.
    ranges = [request.range for request in server.requests if request.key == day.key]
    assert ranges == [None, "bytes=100000-", None, None]


def test_a_wrong_body_is_asked_for_again(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01")
    day = file(TRADES, "2025-12-01")
    server.add_fault(day.key, other_body(b"<html>please log in</html>"))
    report = bring(bucket, tmp_path, day)
    assert report.files[0].outcome is Outcome.DOWNLOADED
    assert same(server, tmp_path, day.key)


def test_a_body_that_stays_wrong_is_refused(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01", "2025-12-02")
    day = file(TRADES, "2025-12-01")
    wrong = b"<html>please log in</html>"
    server.always(day.key, other_body(wrong))
    report = bring(bucket, tmp_path, day, file(TRADES, "2025-12-02"))
    assert [f.outcome for f in report.files] == [Outcome.FAILED, Outcome.DOWNLOADED]
    stated = hashlib.sha256((server.folder / day.key).read_bytes()).hexdigest()
    actual = hashlib.sha256(wrong).hexdigest()
    assert report.files[0].reason == (
        f"its SHA-256 is {actual}, the archive's CHECKSUM says {stated} (3 downloads, none is kept)"
    )
    assert server.asked(day.key) == [day.key] * 3
    assert not (tmp_path / day.key).exists()
    assert not (tmp_path / f"{day.key}.CHECKSUM").exists()
    assert parts(tmp_path) == []


def test_a_checksum_that_is_none(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01")
    day = file(TRADES, "2025-12-01")
    server.always(f"{day.key}.CHECKSUM", other_body(b"<html>"))
    report = bring(bucket, tmp_path, day)
    assert report.files[0].reason == f"{day.key}.CHECKSUM holds no SHA-256 but b'<html>'"
    assert server.asked(".zip") == []


def test_the_wait_that_a_busy_source_names_is_kept_by_all(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01", "2025-12-02")
    days = [file(TRADES, "2025-12-01"), file(TRADES, "2025-12-02")]
    server.add_fault(f"{days[0].key}.CHECKSUM", refused(503, "1"))
    server.add_fault(f"{days[1].key}.CHECKSUM", slowly(10, 0.02))
    report = bring(bucket, tmp_path, *days, jobs=2)
    assert [f.outcome for f in report.files] == [Outcome.DOWNLOADED] * 2
    refusal = next(request.at for request in server.requests if request.key == f"{days[0].key}.CHECKSUM")
    # Both began at once; all that was asked later waited.
    later = [request.at - refusal for request in server.requests[2:]]
    assert len(later) == 3
    assert min(later) >= 1.0


def test_busy_without_a_wait_is_tried_again_later_and_later(server: BucketServer, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01", size=10)
    day = file(TRADES, "2025-12-01", 10)
    server.add_fault(day.key, refused(429), refused(500), refused(503, "no number"))
    with Bucket(Source(server.address, server.address), first_wait=0.1) as bucket:
        assert bring(bucket, tmp_path, day).files[0].outcome is Outcome.DOWNLOADED
    at = [request.at for request in server.requests if request.key == day.key]
    # Half of 0.1, 0.2, 0.4 seconds at least.
    for wait, (former, later) in zip((0.05, 0.1, 0.2), pairwise(at), strict=True):
        assert later - former >= wait


def test_a_source_that_wants_to_be_left_alone_is(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01", "2025-12-02")
    days = [file(TRADES, "2025-12-01"), file(TRADES, "2025-12-02")]
    server.add_fault(days[0].key, refused(429, "3600"))
    report = bring(bucket, tmp_path, *days)
    assert [f.outcome for f in report.files] == [Outcome.FAILED] * 2
    assert "answered 429 Too Many Requests and asks to wait 3,600 s" in report.files[0].reason
    assert report.files[1].reason.startswith("not tried: ")
    assert server.asked() == [f"{days[0].key}.CHECKSUM", days[0].key]


def test_an_answer_that_will_not_pass_is_not_asked_for_again(
    server: BucketServer, bucket: Bucket, tmp_path: Path
) -> None:
    put(server, TRADES, "2025-12-01")
    day = file(TRADES, "2025-12-01")
    server.always(day.key, refused(403))
    report = bring(bucket, tmp_path, day)
    assert report.files[0].reason == f"{server.address}/{day.key} answered 403 Forbidden"
    assert server.asked(".zip") == [day.key]


def test_what_is_listed_and_not_there_is_not_published(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01", "2025-12-02", "2025-12-03")
    days = [file(TRADES, f"2025-12-0{day}") for day in (1, 2, 3)]
    server.hidden = {days[0].key, f"{days[1].key}.CHECKSUM"}
    report = bring(bucket, tmp_path, *days, RemoteFile(TRADES, "2025-12-04", None))
    assert [(f.outcome, f.reason) for f in report.files] == [
        (Outcome.NOT_PUBLISHED, "the archive lists it and does not have it"),
        (Outcome.NOT_PUBLISHED, "the archive has no checksum of it"),
        (Outcome.DOWNLOADED, ""),
        (Outcome.NOT_PUBLISHED, "the archive does not list it"),
    ]


def test_progress_counts_what_is_listed(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01", size=10)
    said: list[Progress] = []
    files = [file(TRADES, "2025-12-01", 10), RemoteFile(TRADES, "2025-12-02", None)]
    download(bucket, files, tmp_path, progress=said.append)
    assert said[-1] == Progress(1, 1, 10, 10)


def test_no_more_connections_than_jobs(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    days = [f"2025-12-{day:02}" for day in range(1, 13)]
    put(server, TRADES, *days, size=5_000)
    for of in days:
        server.add_fault(TRADES.key(of), slowly(1_000, 0.01))
    report = bring(bucket, tmp_path, *(file(TRADES, of, 5_000) for of in days), jobs=3)
    assert len(report.of(Outcome.DOWNLOADED)) == 12
    assert server.most == 3


def test_the_proxy_of_the_environment_is_asked(
    server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(server, TRADES, "2025-12-01", size=10)
    # To a proxy, the whole address is named; the stand-in looks at its path alone.
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.delenv("no_proxy", raising=False)
    with Bucket(Source("http://archive.invalid", "http://archive.invalid")) as bucket:
        [day] = plan(bucket, [Wanted(TRADES, frozenset({date(2025, 12, 1)}))])
        assert bring(bucket, tmp_path, day).files[0].outcome is Outcome.DOWNLOADED


def test_no_room(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"1,000,000,000,000,000,000 bytes are missing below .* there is room for"):
        bring(bucket, tmp_path, file(TRADES, "2025-12-01", 10**18))
    assert server.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full: a disk that is always full")
def test_a_disk_that_becomes_full_ends_it(server: BucketServer, bucket: Bucket, tmp_path: Path) -> None:
    put(server, TRADES, "2025-12-01", "2025-12-02")
    days = [file(TRADES, "2025-12-01"), file(TRADES, "2025-12-02")]
    sha256 = hashlib.sha256((server.folder / days[0].key).read_bytes()).hexdigest()
    part = (tmp_path / days[0].key).with_name(f"BTCUSDT-aggTrades-2025-12-01.zip.{sha256[:16]}.part")
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    report = bring(bucket, tmp_path, *days)
    assert [f.reason for f in report.files] == [
        "cannot be written: No space left on device",
        f"not tried: the disk of {tmp_path} is full",
    ]


def test_a_folder_that_cannot_be_made(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DownloadError, match=r"cannot write below .*out: File exists"):
        bring(bucket, tmp_path / "out")


# --- what a database lacks -------------------------------------------------------------------------------------


def ingest_days(path: Path, folder: Path, *days: int) -> None:
    for day in days:
        start = DAY + (day - 1) * DAY_MS
        stamp = f"2025-12-{day:02}"
        text = text_of(Kind.AGG_TRADES, trades(50, first_id=1000 * day, start=start))
        write_file(folder, f"BTCUSDT-aggTrades-{stamp}.zip", text)
        write_file(folder / "klines", f"BTCUSDT-5m-{stamp}.zip", text_of(Kind.KLINES, [candle(start)]))
        write_file(folder, f"BTCUSDT-metrics-{stamp}.csv", text_of(Kind.METRICS, [metric(f"{stamp} 00:05:00", 5)]))
    with Database(path) as database:
        ingest(database, [folder])


def missing(path: Path, yesterday: date, *symbols: str) -> dict[str, list[str]]:
    with Database(path, read_only=True) as database:
        wanted, notices = days_missing(ledger_rows(database), "BINANCE", symbols, yesterday)
    assert notices == []
    return {want.series.name: sorted(day.isoformat() for day in want.days) for want in wanted}


def test_what_is_missing_since_the_newest_files(tmp_path: Path) -> None:
    ingest_days(tmp_path / "x.duckdb", tmp_path / "files", 1, 2)
    expected = ["2025-12-03", "2025-12-04"]
    assert missing(tmp_path / "x.duckdb", date(2025, 12, 4)) == {
        "aggTrades": expected,
        "klines 5m": expected,
        "metrics": expected,
    }
    # The last trade of a day is none of midnight, and yet its day is there.
    assert missing(tmp_path / "x.duckdb", date(2025, 12, 2)) == {"aggTrades": [], "klines 5m": [], "metrics": []}


def test_a_day_that_was_late_is_missing_for_a_week(tmp_path: Path) -> None:
    ingest_days(tmp_path / "x.duckdb", tmp_path / "files", 1, 3, 5, 11)
    # From the 4th, a week before the 11th, on.
    late = ["04", "06", "07", "08", "09", "10", "12"]
    expected = [f"2025-12-{day}" for day in late]
    assert missing(tmp_path / "x.duckdb", date(2025, 12, 12), "BTCUSDT")["metrics"] == expected


def test_a_month_is_all_its_days(tmp_path: Path) -> None:
    rows = [(DAY + 5, 8, "0.0001"), (DAY + DAY_MS // 3, 8, "0.0001")]
    write_file(tmp_path / "files", "BTCUSDT-fundingRate-2025-12.zip", text_of(Kind.FUNDING_RATE, rows))
    ingest_days(tmp_path / "x.duckdb", tmp_path / "files", 1)
    found = missing(tmp_path / "x.duckdb", date(2026, 1, 2))
    assert found["fundingRate"] == ["2026-01-01", "2026-01-02"]
    assert len(found["aggTrades"]) == 30 + 2


def test_symbols_without_files(tmp_path: Path) -> None:
    with Database(tmp_path / "empty.duckdb"):
        pass
    with pytest.raises(DownloadError, match="no archive files of BINANCE to go on from"):
        missing(tmp_path / "empty.duckdb", TODAY)
    ingest_days(tmp_path / "x.duckdb", tmp_path / "files", 1)
    with pytest.raises(DownloadError, match="no archive files of BINANCE ETHUSDT to go on from"):
        missing(tmp_path / "x.duckdb", TODAY, "BTCUSDT", "ETHUSDT")


def test_days_between_are_both_included() -> None:
    assert days_between(TODAY, TODAY) == {TODAY}
    assert len(days_between(TODAY, TODAY + timedelta(days=9))) == 10
