"""``GetScorecard`` on a real server, through both clients."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import liqclient
from liqserver.rpc.server import EmbeddedServer
from tests.live.scored import CUT, HOUR, day, scored_database
from tests.rpc.owned import owned


@pytest.fixture(scope="module")
def target(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = scored_database(shared_data, tmp_path_factory.mktemp("scored") / "x.duckdb")
    with EmbeddedServer(path) as server:
        yield server.target


@pytest.fixture(scope="module")
def answer(target: str) -> liqclient.Scorecard:
    with liqclient.Client(target, timeout=120) as client:
        return client.scorecard(
            "BTCUSDT",
            cut="2026-01-20T00:00Z",
            start="2025-12-10T00:00Z",
            models=["position_book", ("time_evolving", liqclient.Parameters(compat="original")), "pyliqmap"],
        )


def test_rows_arrive_as_they_were_measured(answer: liqclient.Scorecard) -> None:
    assert (answer.venue, answer.symbol, answer.interval) == ("BINANCE", "BTCUSDT", HOUR)
    assert (answer.start, answer.cut, answer.end) == (day("2025-12-10"), CUT, day("2026-02-19"))
    assert (answer.min_intervals, answer.min_days, answer.confidence) == (240, 10, 0.95)
    assert [row.kind for row in answer.rows][:5] == ["controls", "model", "model", "model", "model"]
    book, original = answer.row("position_book"), answer.row("time_evolving")
    for side, low, high in ((book.long, 0.18, 0.25), (book.short, 0.11, 0.17)):
        assert side is not None
        assert (side.fitted, side.scored, side.days, side.refused) == (982, 719, 30, None)
        assert side.gain is not None
        assert low < side.gain.value < high
        assert side.gain.low < side.gain.value < side.gain.high
        assert side.gain_over_null is not None
        assert side.gain_over_null.low > 0
        assert side.slope is not None
        assert 0.8 < side.slope.value < 1.3
    assert original.long is not None
    assert original.long.gain is not None
    assert abs(original.long.gain.value) < 0.03
    with pytest.raises(KeyError):
        answer.row("tea leaves")


def test_what_a_row_has_not_is_none(answer: liqclient.Scorecard) -> None:
    controls, missing, null = answer.row("controls"), answer.row("pyliqmap"), answer.row("constant flow")
    assert controls.long is not None
    assert (controls.long.r, controls.long.gain, controls.long.gain_over_null) == (None, None, None)
    assert controls.long.alone is not None
    assert (controls.model, controls.parameters_hash, controls.predicted_long) == (None, None, None)
    assert missing.unavailable is not None
    assert "needs trades" in missing.unavailable
    assert (missing.long, missing.short, missing.predicted_long) == (None, None, None)
    assert null.long is not None
    assert null.long.gain is not None
    assert (null.long.gain_over_null, null.predicted_long) == (None, None)


def test_predictions_come_with_what_was_real(answer: liqclient.Scorecard) -> None:
    """The correlation can be computed again from the columns."""
    row = answer.row("position_book")
    assert row.predicted_long is not None
    assert row.long is not None
    assert row.long.r is not None
    scored = (answer.open_time >= answer.cut) & np.isfinite(answer.liquidated_long)
    x, y = (np.log(of[scored] / 1e6 + 0.01) for of in (row.predicted_long, answer.liquidated_long))
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(row.long.r.value)
    assert not answer.open_time.flags.writeable


def test_effects_and_provenance(answer: liqclient.Scorecard) -> None:
    assert [effect.name for effect in answer.effects] == ["magnet", "impact"]
    assert all(effect.estimate is not None and effect.model == "position_book" for effect in answer.effects)
    assert {mark.kind for mark in answer.watermarks} == {"klines", "open_interest", "funding"}
    assert all(mark.ts_event is not None and mark.ts_event <= answer.end for mark in answer.watermarks)
    assert any("trades are missing" in notice for notice in answer.notices)
    assert answer.generated_at is not None
    plain = json.loads(json.dumps(answer.to_dict()))
    assert plain["rows"][1]["name"] == "position_book"
    assert None in plain["liquidated_long"]
    assert "28 rows" not in repr(answer)
    assert "cut 2026-01-20" in repr(answer)


def test_errors_name_the_field(target: str) -> None:
    async def ask() -> None:
        async with liqclient.AsyncClient(target) as client:
            await client.scorecard("BTCUSDT", cut=CUT + 1)

    with pytest.raises(liqclient.InvalidArgument, match="must be a multiple of the interval") as raised:
        asyncio.run(ask())
    assert [violation.field for violation in raised.value.violations] == ["cut"]
    with liqclient.Client(target) as client:
        with pytest.raises(liqclient.InvalidArgument) as raised:
            client.scorecard("BTCUSDT", cut=CUT, models=[("time_evolving", liqclient.Parameters(kappa=0.5))])
        assert [violation.field for violation in raised.value.violations] == ["models[0].parameters.kappa"]
        with pytest.raises(liqclient.FailedPrecondition, match="nothing is known of real liquidations"):
            client.scorecard("BTCUSDT", cut=CUT, interval="5m")
        with pytest.raises(liqclient.NotFound, match="calibration 'x' is not known"):
            client.scorecard("BTCUSDT", cut=CUT, calibration="x")
        with pytest.raises(ValueError, match="models must not be empty"):
            client.scorecard("BTCUSDT", cut=CUT, models=[])
        with pytest.raises(ValueError, match="interval must not be 0"):
            client.scorecard("BTCUSDT", cut=CUT, interval=0)


def test_two_days_are_too_few(market_server: str) -> None:
    with liqclient.Client(market_server) as client:
        reach = client.levels("BTCUSDT").provenance
        assert reach.history_start is not None
        cut = (reach.history_start + reach.as_of) // 2 // HOUR * HOUR
        with pytest.raises(liqclient.FailedPrecondition, match="controls look back 168 hours, and there are 48"):
            client.scorecard("BTCUSDT", cut=cut)


def test_totals_come_in_through_a_running_server(shared_data: Path, tmp_path: Path) -> None:
    """Files, then their totals, and coverage knows both."""
    folder = shared_data / "binance-btc-2025-12"
    with owned(tmp_path / "x.duckdb") as at, liqclient.Client(at, timeout=120) as client:
        list(client.ingest([folder / "data"]))
        [first, last] = list(client.ingest([folder / "liquidations_1h.csv"], symbol="BTCUSDT"))
        assert first.file is None
        assert last.file is not None
        assert (last.file.status, last.file.kind, last.file.symbol) == ("ingested", "liquidationTotals", "BTCUSDT")
        [symbol] = client.coverage()
        assert symbol.kinds[-1].kind == "liquidation_totals"
        assert symbol.kinds[-1].missing == 3
        [named] = [mark for mark in client.symbols()[0].watermarks if mark.kind == "liquidation_totals"]
        assert named.ts_event == symbol.kinds[-1].end
        with pytest.raises(liqclient.InvalidArgument, match="there are no totals of liquidations"):
            list(client.ingest([folder / "data"], symbol="BTCUSDT"))
