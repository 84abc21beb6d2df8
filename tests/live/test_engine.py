"""The engine on markets held in a dictionary: what is asked, what is answered, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from liqserver.kernel import History, Source
from liqserver.live.answers import AmountUnit, LevelsAnswer, LevelsQuery, Sides
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import InvalidField, MissingInput, OutsideCoverage, UnknownName
from liqserver.live.question import AS_OF_GRACE
from liqserver.margin import builtin_tables
from liqserver.margin.brackets import midnight
from liqserver.models.market import Market
from liqserver.models.parameters import MarginFormula, Parameters
from tests.kernel.markets import MINUTE, history
from tests.models.markets import GivenDetails

START = midnight("2025-09-01")
BRACKETS = tuple(table for table in builtin_tables() if table.symbol == "BTCUSDT")


class Markets:
    """Markets in a dictionary; see ``MarketSource``."""

    def __init__(self, *markets: Market) -> None:
        self.markets = {(market.venue, market.symbol): market for market in markets}
        self.read = 0

    def names(self) -> list[tuple[str, str]]:
        return sorted(self.markets)

    def market(self, venue: str, symbol: str) -> Market:
        self.read += 1
        return self.markets[venue, symbol]

    def grown(self, market: Market, history: History) -> Market:
        return replace(market, history=history)


def steps(count: int = 40) -> History:
    rng = np.random.default_rng(5)
    rows: list[dict[str, object]] = []
    for i in range(count):
        price = 50_000 + 40 * np.sin(i / 5)
        rows.append({"low": price - 8, "high": price + 8, "close": price, "flow": [(price, *rng.exponential(30, 2))]})
        if i % 5 == 0:
            rows[-1]["oi"] = 1_000.0 + i
    of = history(rows, start=START)
    return replace_sources(of)


def replace_sources(of: History) -> History:
    path = np.where(np.isnan(of.mark_low), Source.NONE, Source.MARK_PRICE).astype(np.uint8)
    flow = np.where(np.diff(of.flow_offset) > 0, Source.TRADES, Source.NONE).astype(np.uint8)
    return replace(of, path_source=path, flow_source=flow)


def market(symbol: str = "BTCUSDT", venue: str = "BINANCE", of: History | None = None) -> Market:
    return Market(venue, symbol, 0.1, "built in", 10.0, steps() if of is None else of, BRACKETS, GivenDetails())


@pytest.fixture
def engine() -> LevelsEngine:
    return LevelsEngine(Markets(market(), market("ETHUSDT"), market("ETHUSDT", "BYBIT")))


def ask(engine: LevelsEngine, as_of: int | None = None, **query: object) -> LevelsAnswer:
    return engine.levels(LevelsQuery(**({"symbol": "BTCUSDT"} | query)), as_of)  # type: ignore[arg-type]


def test_levels_newest_tells_where_every_number_comes_from(engine: LevelsEngine) -> None:
    answer = ask(engine)
    where = answer.provenance
    end = START + 40 * MINUTE
    assert (where.venue, where.symbol, where.model) == ("BINANCE", "BTCUSDT", "position_book")
    assert where.as_of == end
    assert where.watermarks == {"trades": end, "mark_price": end, "open_interest": START + 36 * MINUTE}
    assert where.staleness == 4 * MINUTE
    assert where.current_price.value == pytest.approx(50_000 + 40 * np.sin(39 / 5))
    assert (where.current_price.source, where.current_price.ts) == (Source.MARK_PRICE, end)
    assert where.open_interest == 1_035.0
    assert where.bracket_table == "BINANCE:BTCUSDT:2025-08-21"
    assert where.history_start == START + MINUTE
    assert (where.kline_volume_share, where.last_price_path_share) == (0.0, 0.0)
    assert where.parameters.kappa == 0.8
    assert all(tier.hazard is not None for tier in where.parameters.tiers or ())


def test_levels_longs_lie_below_and_shorts_above_the_price_and_all_contracts_add_up(engine: LevelsEngine) -> None:
    answer = ask(engine, unit=AmountUnit.QTY, down=1.0, up=1.0)
    where = answer.provenance
    assert answer.amount[0][answer.price > where.current_price.value].sum() == 0
    assert answer.amount[1][answer.price + answer.bin_size < where.current_price.value].sum() == 0
    for side in (0, 1):
        unplaced = where.no_level_share[side] + where.unknown_entry_share[side]
        assert answer.total[side] == pytest.approx(where.open_interest * (1 - unplaced))
    np.testing.assert_allclose(answer.amount.sum(axis=1), answer.total)
    np.testing.assert_allclose(answer.in_range, answer.total)


def test_levels_notional_is_contracts_times_the_middle_of_the_base_bin(engine: LevelsEngine) -> None:
    notional, qty = (ask(engine, bin_size=10.0, unit=unit) for unit in (AmountUnit.NOTIONAL, AmountUnit.QTY))
    np.testing.assert_allclose(notional.amount, qty.amount * (qty.price + 5.0))


def test_levels_wider_bins_hold_the_same_in_fewer_bins(engine: LevelsEngine) -> None:
    fine, wide = (ask(engine, bin_size=width, unit=AmountUnit.QTY) for width in (10.0, 70.0))
    assert len(wide.price) < len(fine.price)
    assert (wide.price % 70.0 == 0).all()
    for price, long in zip(wide.price, wide.amount[0], strict=True):
        inside = (fine.price >= price) & (fine.price < price + 70)
        if price > wide.price[0] and price < wide.price[-1]:
            assert fine.amount[0][inside].sum() == pytest.approx(long)


def test_levels_price_range_cuts_on_either_side(engine: LevelsEngine) -> None:
    price = ask(engine).provenance.current_price.value
    answer = ask(engine, down=0.02, up=0.1, bin_size=10.0)
    assert answer.price.min() >= price * 0.98 - 10
    assert answer.price.max() <= price * 1.1
    assert answer.price.max() > price * 1.05
    assert answer.in_range[0] < answer.total[0]


def test_levels_by_tier_adds_up_and_names_the_leverage(engine: LevelsEngine) -> None:
    answer = ask(engine, per_tier=True)
    assert answer.leverage.tolist() == [tier.leverage for tier in answer.provenance.parameters.tiers or ()]
    np.testing.assert_allclose(answer.by_tier.sum(axis=1), answer.amount)
    assert ask(engine).by_tier.shape[1] == 0


@pytest.mark.parametrize(("sides", "shown", "other"), [(Sides.LONG, 0, 1), (Sides.SHORT, 1, 0)])
def test_levels_one_side_leaves_the_other_empty(engine: LevelsEngine, sides: Sides, shown: int, other: int) -> None:
    answer = ask(engine, sides=sides)
    assert answer.amount[other].sum() == 0
    assert (answer.amount[shown] > 0).all()
    assert answer.in_range[other] > 0


def test_levels_min_notional_leaves_out_small_bins_only(engine: LevelsEngine) -> None:
    every = ask(engine, unit=AmountUnit.QTY)
    threshold = float(np.median(ask(engine).amount.max(axis=0)))
    large = ask(engine, unit=AmountUnit.QTY, min_notional=threshold)
    assert 0 < len(large.price) < len(every.price)
    assert (large.amount.max(axis=0) * (large.price + large.bin_size) >= threshold).all()
    np.testing.assert_array_equal(large.in_range, every.in_range)


def test_levels_as_of_a_past_moment_equals_what_was_answered_then() -> None:
    moment = START + 23 * MINUTE
    whole = LevelsEngine(Markets(market()))
    then = LevelsEngine(Markets(market(of=steps().until(moment))))
    now, past = ask(whole, moment), ask(then, moment)
    assert past.amount.tobytes() == now.amount.tobytes()
    assert past.price.tobytes() == now.price.tobytes()
    assert past.provenance == now.provenance


def test_levels_hashes_differ_where_parameters_or_inputs_do(engine: LevelsEngine) -> None:
    base, other = ask(engine).provenance, ask(engine, parameters=Parameters(kappa=0.31)).provenance
    assert other.inputs_hash == base.inputs_hash
    assert other.parameters_hash != base.parameters_hash
    earlier = ask(engine, START + 20 * MINUTE).provenance
    assert earlier.parameters_hash == base.parameters_hash
    assert earlier.inputs_hash != base.inputs_hash
    written_out = ask(engine, parameters=base.parameters).provenance
    assert written_out.parameters_hash == base.parameters_hash


def test_levels_short_history_says_that_most_entries_are_not_known(engine: LevelsEngine) -> None:
    where = ask(engine, parameters=Parameters(kappa=0.3, no_level_weight=0.0)).provenance
    assert max(where.unknown_entry_share) > 0.5
    assert any("opened before the data begins" in notice for notice in where.notices)


def test_levels_data_before_the_first_brackets_says_which_stand_in() -> None:
    early = midnight("2021-05-19")
    of = history([{"oi": 10.0, "low": 4e4, "high": 4e4, "close": 4e4, "flow": [(4e4, 1.0, 1.0)]}] * 3, start=early)
    where = ask(LevelsEngine(Markets(market(of=replace_sources(of))))).provenance
    assert where.bracket_table == BRACKETS[0].table_id
    assert any("brackets before 2022-02-12" in notice and BRACKETS[0].table_id in notice for notice in where.notices)


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ({"bin_size": 7.0}, "query.bin_size", "was 7, must be a multiple of the base bin 10"),
        ({"bin_size": -10.0}, "query.bin_size", "must be a positive number"),
        ({"bin_size": float("nan")}, "query.bin_size", "must be a positive number"),
        ({"bin_size": 10.0, "up": 10.0, "down": 1.0}, "query.bin_size", "at most 50000 are allowed"),
        ({"down": 1.5}, "query.price_range.down", r"was 1\.5, must be in \[0, 1\]"),
        ({"up": -0.1}, "query.price_range.up", "must be in"),
        ({"up": float("inf")}, "query.price_range.up", "must be in"),
        ({"up": 0.0, "down": 0.0}, "query.price_range", "must reach up or down"),
        ({"min_notional": -1.0}, "query.min_notional", "at least 0"),
        ({"symbol": ""}, "query.symbol", "must be one of"),
        ({"symbol": "ETHUSDT"}, "query.venue", "must be one of BINANCE, BYBIT"),
        ({"parameters": Parameters(kappa=7.0)}, "query.parameters.kappa", r"was 7\.0, must be a number in \(0, 1\]"),
    ],
)
def test_levels_bad_field_is_named_with_what_is_allowed(
    engine: LevelsEngine, query: dict[str, object], field: str, message: str
) -> None:
    with pytest.raises(InvalidField, match=message) as caught:
        ask(engine, **query)
    assert caught.value.field == field


def test_levels_unknown_names_list_the_known(engine: LevelsEngine) -> None:
    with pytest.raises(UnknownName, match="'DOGEUSDT' is not known; known: BINANCE:BTCUSDT, BINANCE:ETHUSDT") as caught:
        ask(engine, symbol="DOGEUSDT")
    assert caught.value.reason == "SYMBOL_UNKNOWN"
    with pytest.raises(UnknownName, match="'BYBIT:BTCUSDT'"):
        ask(engine, venue="BYBIT")
    with pytest.raises(UnknownName, match=r"'tea_leaves'.*position_book") as caught:
        ask(engine, model="tea_leaves")
    assert caught.value.reason == "MODEL_UNKNOWN"


def test_levels_unknown_symbol_among_many_names_the_most_like_it() -> None:
    many = [market(f"COIN{i:03}USDT") for i in range(400)]
    with pytest.raises(UnknownName, match=r"BINANCE:BTCUSDT.* and 381 others") as caught:
        ask(LevelsEngine(Markets(*many, market())), symbol="BTCUSD")
    assert len(caught.value.metadata["known"].split(",")) == 20


def test_levels_moment_outside_the_data_names_what_is_covered(engine: LevelsEngine) -> None:
    first, last = START + MINUTE, START + 40 * MINUTE
    for moment in (first - 1, last + AS_OF_GRACE + 1):
        with pytest.raises(OutsideCoverage) as caught:
            ask(engine, moment)
        assert (caught.value.metadata["start"], caught.value.metadata["end"]) == (str(first), str(last))
    assert ask(engine, first).provenance.as_of == first
    late = ask(engine, last + AS_OF_GRACE).provenance
    assert late.staleness == AS_OF_GRACE + 4 * MINUTE


def test_levels_without_an_input_the_model_needs_says_which() -> None:
    no_interest = replace_sources(history([{"low": 1.0, "high": 1.0, "close": 1.0}], start=START))
    with pytest.raises(MissingInput, match="needs open interest") as caught:
        ask(LevelsEngine(Markets(market(of=no_interest))))
    assert caught.value.metadata["what"] == "open_interest"
    no_price = history([{"oi": 1.0}], start=START)
    with pytest.raises(MissingInput, match="no price"):
        ask(LevelsEngine(Markets(market(of=no_price))))
    no_brackets = replace(market(), brackets=())
    with pytest.raises(MissingInput, match="brackets load"):
        ask(LevelsEngine(Markets(no_brackets)))
    simplified = Parameters(margin_formula=MarginFormula.SIMPLIFIED)
    assert ask(LevelsEngine(Markets(no_brackets)), parameters=simplified).provenance.bracket_table == ""


def test_refresh_answers_from_what_is_there_now_and_changes_the_version() -> None:
    markets = Markets(market(of=steps(20)), market("ETHUSDT"))
    engine = LevelsEngine(markets)
    first = ask(engine).provenance
    ask(engine)
    assert markets.read == 1
    markets.markets["BINANCE", "BTCUSDT"] = market()
    version = engine.version
    told: list[tuple[str, str]] = []
    end = engine.watch(lambda venue, symbol: told.append((venue, symbol)))
    engine.refresh("BINANCE", "BTCUSDT")
    end()
    assert told == [("BINANCE", "BTCUSDT")]
    assert markets.read == 2
    assert engine.version > version
    now = ask(engine)
    assert now.provenance.as_of > first.as_of
    assert now.provenance == ask(LevelsEngine(Markets(market()))).provenance
    assert markets.read == 2


def test_refresh_of_a_market_nobody_asked_for_reads_nothing_but_makes_it_known() -> None:
    markets = Markets(market())
    engine = LevelsEngine(markets)
    ask(engine)
    markets.markets["BINANCE", "SOLUSDT"] = market("SOLUSDT")
    with pytest.raises(UnknownName):
        ask(engine, symbol="SOLUSDT")
    engine.refresh("BINANCE", "SOLUSDT")
    assert markets.read == 1
    simplified = Parameters(margin_formula=MarginFormula.SIMPLIFIED)
    assert ask(engine, symbol="SOLUSDT", parameters=simplified).provenance.symbol == "SOLUSDT"
