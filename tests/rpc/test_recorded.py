from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liqserver.live.errors import InvalidField, MissingInput, UnknownName
from liqserver.rpc.recorded import RecordedLiquidations
from liqserver.store.archive import Kind
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest
from liqserver.v1 import common_pb2, liquidation_pb2
from tests.store.archive_files import DAY, candle, text_of, write_file

MS, SECOND, MINUTE = 10**6, 10**9, 60 * 10**9
START, DAY_NS = DAY * MS, 86_400 * 10**9
NOW = START + 7
LONG, SHORT = common_pb2.SIDE_LONG, common_pb2.SIDE_SHORT


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedLiquidations]:
    """One liquidation every two minutes of BTCUSDT; ETHUSDT in a cascade; APEUSDT has candles only; two venues."""
    folder = tmp_path_factory.mktemp("recorded")

    def row(symbol: str, ts: int, side: str, price: float, qty: float) -> tuple[object, ...]:
        return symbol, side, "LIMIT", "IOC", qty, price, price, "FILLED", qty, qty, ts, 0

    quiet = [row("BTC", DAY + 120_000 * n, ("SELL", "BUY", "SELL")[n % 3], 100 + n, 0.5 + n) for n in range(25)]
    cascade = [row("ETH", DAY + 1000 * n, "SELL", 50, 1) for n in range(40)]
    rows = text_of(Kind.FORCE_ORDERS, [*quiet, *cascade], header=False)
    paths = [
        write_file(folder, "force_orders_2025-12-01.csv", rows),
        write_file(folder / "klines", "APEUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, [candle(DAY)])),
    ]
    elsewhere = text_of(Kind.FORCE_ORDERS, [row("LRC", DAY, "SELL", 1, 1), row("ONE", DAY, "BUY", 2, 3)])
    with Database(folder / "x.duckdb") as database:
        assert not ingest(database, paths).of(Status.REJECTED)
        other = write_file(folder / "other", "force_orders_2025-12-02.csv", elsewhere)
        for venue in ("BINANCE", "ELSEWHERE"):
            assert ingest(database, [other], venue=venue).of(Status.INGESTED)
        yield RecordedLiquidations(database, lambda: NOW)


def ask(
    service: RecordedLiquidations, symbol: str = "BTCUSDT", **fields: Any
) -> liquidation_pb2.ListLiquidationsResponse:
    return service.list(liquidation_pb2.ListLiquidationsRequest(symbol=symbol, **fields))


def test_one_by_one(service: RecordedLiquidations) -> None:
    answer = ask(service)
    columns = answer.liquidations
    assert list(columns.ts_event) == [START + 2 * MINUTE * n for n in range(25)]
    assert list(columns.side) == [(LONG, SHORT, LONG)[n % 3] for n in range(25)]
    assert list(columns.price) == [100.0 + n for n in range(25)]
    assert list(columns.qty) == [0.5 + n for n in range(25)]
    assert list(columns.notional) == [(100.0 + n) * (0.5 + n) for n in range(25)]
    assert (answer.total_rows, answer.next_page_token, list(answer.notices)) == (25, "", [])
    assert (answer.recorded_start, answer.recorded_end) == (START, START + 48 * MINUTE)
    assert answer.generated_at == NOW
    assert answer.HasField("liquidations")
    assert not answer.HasField("buckets")
    # What the wire carries is what the message holds.
    again = liquidation_pb2.ListLiquidationsResponse.FromString(answer.SerializeToString())
    assert again == answer


def test_span_and_side(service: RecordedLiquidations) -> None:
    answer = ask(service, start=START + 2 * MINUTE, end=START + 8 * MINUTE, side=LONG)
    assert list(answer.liquidations.ts_event) == [START + 4 * MINUTE, START + 6 * MINUTE]
    assert (answer.total_rows, answer.recorded_start, answer.recorded_end) == (2, START, START + 48 * MINUTE)
    answer = ask(service, start=START + DAY_NS)
    assert (answer.total_rows, len(answer.liquidations.ts_event), answer.next_page_token) == (0, 0, "")
    assert answer.HasField("liquidations")
    assert list(ask(service, start=0, end=START + 1, interval=SECOND).buckets.ts) == [START]


@pytest.mark.parametrize("interval", [0, 7 * MINUTE])
@pytest.mark.parametrize("size", [1, 4, 25, 100_000])
def test_pages_hold_everything_once(service: RecordedLiquidations, interval: int, size: int) -> None:
    question: dict[str, Any] = {"interval": interval, "end": START + 45 * MINUTE}
    whole = ask(service, **question)
    parts = liquidation_pb2.ListLiquidationsResponse()
    token, pages = "", 0
    while token or not pages:
        page = ask(service, **question, page_size=size, page_token=token)
        assert (page.total_rows, page.HasField("buckets")) == (whole.total_rows, interval > 0)
        token, pages = page.next_page_token, pages + 1
        parts.MergeFrom(page)
    n = len(whole.buckets.ts) if interval else len(whole.liquidations.ts_event)
    assert pages == -(-n // size)
    assert (parts.liquidations, parts.buckets) == (whole.liquidations, whole.buckets)
    # The size may change from page to page.
    if size < n:
        first = ask(service, **question, page_size=size)
        rest = ask(service, **question, page_token=first.next_page_token)
        assert len(rest.buckets.ts) + len(rest.liquidations.ts_event) == n - size


def test_by_interval(service: RecordedLiquidations) -> None:
    raw = ask(service).liquidations
    ts, notional, qty = (np.array(column) for column in (raw.ts_event, raw.notional, raw.qty))
    longs = np.array(raw.side) == LONG
    sums = ask(service, interval=10 * MINUTE).buckets
    assert list(sums.ts) == [START + 10 * MINUTE * n for n in range(5)]
    for n, bucket in enumerate(sums.ts):
        within = (ts >= bucket) & (ts < bucket + 10 * MINUTE)
        assert sums.long_notional[n] == pytest.approx(notional[within & longs].sum(), rel=1e-14)
        assert sums.short_notional[n] == pytest.approx(notional[within & ~longs].sum(), rel=1e-14)
        assert sums.long_qty[n] == pytest.approx(qty[within & longs].sum(), rel=1e-14)
        assert sums.short_qty[n] == pytest.approx(qty[within & ~longs].sum(), rel=1e-14)
        assert sums.long_count[n] == (within & longs).sum()
        assert sums.short_count[n] == (within & ~longs).sum()
    only = ask(service, interval=10 * MINUTE, side=SHORT)
    assert list(only.buckets.short_qty) == list(sums.short_qty)
    assert set(only.buckets.long_notional) == {0.0}
    assert set(only.buckets.long_count) == {0}
    assert only.total_rows == 8


def test_a_full_feed_is_said(service: RecordedLiquidations) -> None:
    for fields in ({}, {"interval": SECOND}, {"side": SHORT}, {"page_size": 1}):
        [notice] = ask(service, "ETHUSDT", **fields).notices
        assert notice.startswith("amounts are lower bounds: the feed shows at most one order of a symbol in a second")
        assert "in 1 minute there is one" in notice
        assert "(most in 2025-12-01 00:00 UTC, 40 of 60); from first to last 40 of 40 seconds" in notice
    assert not ask(service, "ETHUSDT", end=START + 20 * SECOND).notices


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"interval": SECOND - 1}, "interval", "was 999999999, must be 0, or from 1000000000"),
        ({"interval": -1}, "interval", "was -1, must be 0, or from 1000000000"),
        ({"interval": 30 * DAY_NS + 1}, "interval", r"\(30 days\) nanoseconds"),
        ({"page_size": -1}, "page_size", "was -1, must be 1 to 100000, or 0 for 10000"),
        ({"page_size": 100_001}, "page_size", "was 100001, must be 1 to 100000"),
        ({"start": 5, "end": 5}, "start", "was 5, must be before end, which was 5"),
        ({"side": 9}, "side", "was 9, must be one of 0, 1, 2"),
        ({"symbol": ""}, "symbol", "must be one of APEUSDT, BTCUSDT"),
        ({"symbol": "ONEUSDT"}, "venue", "was empty, must be one of BINANCE, ELSEWHERE for ONEUSDT"),
        ({"page_token": "nonsense"}, "page_token", "was 'nonsense', must be empty or the next_page_token of an answer"),
        ({"page_token": "é?"}, "page_token", "must be empty or the next_page_token"),
        ({"page_token": "A"}, "page_token", "must be empty or the next_page_token"),
    ],
)
def test_a_field_that_is_not_allowed(
    service: RecordedLiquidations, fields: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(InvalidField, match=said) as caught:
        ask(service, **fields)
    assert caught.value.field == field


def test_a_token_is_of_one_question(service: RecordedLiquidations) -> None:
    token = ask(service, page_size=3).next_page_token
    assert len(ask(service, page_token=token).liquidations.ts_event) == 22
    for other in (
        {"side": LONG},
        {"start": START},
        {"end": START + DAY_NS},
        {"interval": MINUTE},
        {"symbol": "ETHUSDT"},
    ):
        with pytest.raises(InvalidField, match="must be from an answer to the same question") as caught:
            ask(service, **({"page_token": token} | other))
        assert caught.value.field == "page_token"
    # The venue may be named or not: it is the same question.
    assert ask(service, venue="BINANCE", page_token=token).total_rows == 25


def test_names(service: RecordedLiquidations) -> None:
    with pytest.raises(UnknownName, match="symbol 'XYZ' is not known; known: BINANCE:APEUSDT, BINANCE:BTCUSDT"):
        ask(service, "XYZ")
    with pytest.raises(UnknownName, match="'NOWHERE:BTCUSDT'"):
        ask(service, venue="NOWHERE")
    assert ask(service, "ONEUSDT", venue="ELSEWHERE").total_rows == 1
    with pytest.raises(MissingInput, match="no liquidations of BINANCE:APEUSDT are recorded: ingest") as caught:
        ask(service, "APEUSDT")
    assert caught.value.metadata == {"what": "liquidations"}


def test_simulated_market(market_db: Path) -> None:
    with Database(market_db, read_only=True) as database:
        service = RecordedLiquidations(database, lambda: NOW)
        rows = ask(service)
        sums = ask(service, interval=3600 * SECOND).buckets
    assert rows.total_rows == len(rows.liquidations.ts_event) > 50
    of = np.array(rows.liquidations.side)
    notional = np.array(rows.liquidations.notional)
    assert sum(sums.long_notional) == pytest.approx(notional[of == LONG].sum())
    assert sum(sums.short_notional) == pytest.approx(notional[of == SHORT].sum())
