"""The compiled scan against Python's own reading; test_ingest.py has every rule of trades by both scans."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liqserver.store import loaders, trade_scan
from liqserver.store.archive import Kind
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest
from liqserver.store.trade_scan import TradeGroups, scan_trades
from tests.store.archive_files import DAY, text_of, trade, trades, write_file

QTY, NOTIONAL = 10**8, 10**6


def scan(path: Path, *, header: bool = False, base_bin: float = 5.0, skipped: int = 2) -> TradeGroups | None:
    return scan_trades(
        path,
        header=header,
        skipped=skipped,
        minute=60_000,
        base_bin=base_bin,
        qty_scale=QTY,
        notional_scale=NOTIONAL,
        large_notional=1e5,
        threads=2,
    )


def test_numbers_are_read_as_python_reads_them(tmp_path: Path) -> None:
    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        price=st.decimals("0.0000001", 10**7, places=7).map("{:f}".format) | st.integers(1, 10**6),
        qty=st.floats(min_value=1e-8, max_value=1e6),
    )
    def check(price: object, qty: float) -> None:
        path = write_file(tmp_path, "x.csv", text_of(Kind.AGG_TRADES, [trade(1, price, qty, DAY)], header=False))
        found = scan_trades(
            path,
            header=False,
            skipped=2,
            minute=60_000,
            base_bin=1.0,
            qty_scale=1,
            notional_scale=1,
            large_notional=0.0,
            threads=1,
        )
        if found is None:
            # Of 17 digits the mantissa may not be exact any more.
            assert len(repr(qty).replace(".", "").split("e")[0].lstrip("0")) >= 16 or float(str(price)) >= 2**31
            return
        assert found.large["price"].tolist() == [float(str(price))]
        assert found.large["qty"].tolist() == [qty]

    check()


@pytest.mark.parametrize("chunk", [40, 57, 64, 1000, 1 << 22])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
@pytest.mark.parametrize("header", [True, False])
def test_wherever_chunks_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, end: str, header: bool
) -> None:
    monkeypatch.setattr(trade_scan, "_CHUNK", chunk)
    rows = trades(60)
    text = text_of(Kind.AGG_TRADES, rows, header=header)
    text = text.rstrip("\n") if not end else text.replace("\n", end)
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    # A header longer than a chunk is none that scan_trades is given: the first lines are looked at in 4 MB.
    found = scan(path, header=header) if chunk > 100 or not header else None
    if found is None:
        assert header
        assert chunk <= 100
        return
    assert (found.rows, found.first_id, found.last_id) == (60, 1, 60)
    expected: dict[tuple[int, int, int, bool], list[int]] = defaultdict(lambda: [0, 0, 0])
    for _, price, qty, _, _, ts, maker in rows:
        assert isinstance(price, float)
        assert isinstance(qty, float)
        assert isinstance(ts, int)
        size = 1 + sum(price * qty >= limit for limit in (1e3, 1e4, 1e5, 1e6))
        sums = expected[ts // 60_000, int(price // 5), size, bool(maker)]
        for n, v in enumerate((round(qty * QTY), round(price * qty * NOTIONAL), 1)):
            sums[n] += v
    actual: dict[tuple[int, int, int, bool], list[int]] = defaultdict(lambda: [0, 0, 0])
    for key, *sums in zip(
        zip(*(found.groups[c].tolist() for c in ("minute", "bin", "size", "is_buyer_maker")), strict=True),
        *(found.groups[c].tolist() for c in ("qty", "notional", "count")),
        strict=True,
    ):
        for n, v in enumerate(sums):
            actual[key][n] += v
    assert actual == expected
    assert found.large["id"].tolist() == [r[0] for r in rows if float(str(r[1])) * float(str(r[2])) >= 1e5]


PLAIN = "1,90000.0,0.5,1,1,1764547200000,true"


@pytest.mark.parametrize(
    "line",
    [
        "3,90000.0,0.5,1,1,1764547200000,true",  # a gap
        "1,90000.0,0.5,1,1,1764547200000,true",  # a copy
        "2,-90000.0,0.5,1,1,1764547200000,true",
        "2,0,0.5,1,1,1764547200000,true",
        "2,90000.0,0.0,1,1,1764547200000,true",
        "2,nan,0.5,1,1,1764547200000,true",
        "2,inf,0.5,1,1,1764547200000,true",
        "2,,0.5,1,1,1764547200000,true",
        "2,.,0.5,1,1,1764547200000,true",
        "2,1.2.3,0.5,1,1,1764547200000,true",
        "2, 90000.0,0.5,1,1,1764547200000,true",
        '2,"90000.0",0.5,1,1,1764547200000,true',
        "2,9e4,0.5,1,1,1764547200000,true",
        "2,90000.0,1e+5,1,1,1764547200000,true",
        "2,90000.0,1e-,1,1,1764547200000,true",
        "2,90000.0,1e-40,1,1,1764547200000,true",
        "2,90000.0,0.12345678901234567890,1,1,1764547200000,true",
        "2,90000.0,0.5,1,1764547200000,true",
        "2,90000.0,0.5,1,1,1764547200000",
        "2,90000.0,0.5,1,1,1764547200000,",
        "2,90000.0,0.5,1,1,1764547200000,true,1",
        "2,90000.0,0.5,1,1,1764547200000,True",
        "2,90000.0,0.5,1,1,1764547200000,t",
        "2,90000.0,0.5,1,1,-5,true",
        "2,90000.0,0.5,1,1,1764547200000.0,true",
        "2,90000.0,0.5,1,1,999999999999999999,true",
        "2,99999999999999,0.5,1,1,1764547200000,true",
        "2,1,99999999999999,1,1,1764547200000,true",
        "x,90000.0,0.5,1,1,1764547200000,true",
        "2",
        "2,",
        " ",
    ],
)
def test_it_gives_up_on_anything_else(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.csv"
    for text in (f"{PLAIN}\n{line}\n", f"{PLAIN}\n{line}", f"{PLAIN}\n{line}\n{PLAIN}\n"):
        path.write_text(text)
        assert scan(path) is None
    path.write_text(f"{PLAIN}\n\n{PLAIN.replace('1,', '2,', 1)}\n")
    found = scan(path)
    assert found is not None
    assert found.rows == 2


def test_sums_that_would_overflow_are_given_up(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("".join(f"{i},1,30000000000,1,1,{DAY},true\n" for i in range(1, 4)))
    assert scan(path) is None
    # One alone fits.
    path.write_text(f"1,1,30000000000,1,1,{DAY},true\n")
    found = scan(path)
    assert found is not None
    assert found.groups["qty"].tolist() == [3 * 10**18]


def test_both_scans_give_the_same_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Halves of the units of the sums, floating-point noise, many chunks.
    rows = [
        trade(
            i,
            f"{0.0001 * (5000 + i % 977):.4f}",
            f"{0.005 * (1 + i * 7919 % 2503):.3f}",
            DAY + i * 37,
            buyer_maker=i % 2 == 0,
        )
        for i in range(1, 50_001)
    ]
    rows += [trade(50_000 + i, 0.0501, repr(0.1 * i), DAY, buyer_maker=False) for i in range(1, 1000)]
    path = write_file(tmp_path, "XYZUSDT-aggTrades-2025-12-01.csv", text_of(Kind.AGG_TRADES, rows))
    monkeypatch.setattr(trade_scan, "_CHUNK", 10_000)
    tables = []
    for n, limit in enumerate((0, 1 << 60)):
        monkeypatch.setattr(loaders, "COMPILED_SCAN_BYTES", limit)
        monkeypatch.setattr(loaders, "LARGE_TRADE_NOTIONAL", 5.0)
        with Database(tmp_path / f"{n}.duckdb") as db:
            [result] = ingest(db, [path], clock=lambda: 1).files
            assert result.status is Status.INGESTED
            tables.append(
                [db.cursor().execute(f"FROM {t} ORDER BY ALL").fetchall() for t in ("flow", "large_trades", "ledger")]
            )
    assert len(tables[0][1]) > 1000
    assert tables[0] == tables[1]
