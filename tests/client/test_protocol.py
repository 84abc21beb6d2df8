"""What any server of the protocol does, asked through the client.

Nothing here knows the stand-in: the fixture ``served`` may as well be the real server.
"""

import json

import numpy as np
import pytest

import liqclient

from .conftest import Ask, Served


def test_levels_newest_data_are_columns_around_the_price(ask: Ask, served: Served) -> None:
    levels = ask(served.target, "levels", served.symbol)
    assert len(levels.price) > 0
    assert np.all(np.diff(levels.price) > 0)
    for column in (levels.price, levels.long, levels.short):
        assert column.dtype == np.float64
        assert column.shape == levels.price.shape
        assert np.all(np.isfinite(column))
        assert np.all(column >= 0)
    assert np.all(levels.long + levels.short > 0)
    assert levels.price[0] - levels.bin_size < levels.current_price < levels.price[-1] + levels.bin_size
    assert levels.unit == "notional"
    assert dict(levels.tiers) == {}


def test_levels_newest_data_say_where_they_come_from(ask: Ask, served: Served) -> None:
    where = ask(served.target, "levels", served.symbol).provenance
    assert (where.venue, where.symbol, where.model) == (served.venue, served.symbol, served.model)
    assert len(where.parameters_hash) == len(where.inputs_hash) == 16
    assert where.watermarks
    assert all(w.ts_init <= where.as_of for w in where.watermarks)
    assert where.current_price_source is not None


def test_levels_past_moment_speak_of_that_moment(ask: Ask, served: Served) -> None:
    as_of = (served.start + served.end) // 2
    assert ask(served.target, "levels", served.symbol, as_of=as_of).provenance.as_of == as_of


def test_levels_whole_range_add_up_to_the_totals(ask: Ask, served: Served) -> None:
    levels = ask(served.target, "levels", served.symbol, price_range=(1.0, 10.0))
    assert levels.long.sum() == pytest.approx(levels.totals.long_in_range)
    assert levels.short.sum() == pytest.approx(levels.totals.short_in_range)
    assert levels.totals.long_in_range <= levels.totals.long * (1 + 1e-9)
    assert levels.totals.short_in_range <= levels.totals.short * (1 + 1e-9)


def test_levels_price_range_leaves_the_rest_out(ask: Ask, served: Served) -> None:
    levels = ask(served.target, "levels", served.symbol, price_range=(0.1, 0.05))
    assert np.all(levels.price + levels.bin_size > levels.current_price * 0.9)
    assert np.all(levels.price <= levels.current_price * 1.05)


def test_levels_one_side_leaves_the_other_zero(ask: Ask, served: Served) -> None:
    both = ask(served.target, "levels", served.symbol)
    longs = ask(served.target, "levels", served.symbol, side="long")
    shorts = ask(served.target, "levels", served.symbol, side="short")
    assert not longs.short.any()
    assert not shorts.long.any()
    assert longs.long.sum() == pytest.approx(both.long.sum())
    assert shorts.short.sum() == pytest.approx(both.short.sum())


def test_levels_qty_times_price_is_notional(ask: Ask, served: Served) -> None:
    notional = ask(served.target, "levels", served.symbol)
    qty = ask(served.target, "levels", served.symbol, unit="qty")
    assert qty.unit == "qty"
    # Amounts are valued at their level, which lies anywhere in the bin.
    for amounts, contracts in ((notional.long, qty.long), (notional.short, qty.short)):
        assert amounts.sum() >= (contracts * qty.price).sum() * (1 - 1e-9)
        assert amounts.sum() <= (contracts * (qty.price + qty.bin_size)).sum() * (1 + 1e-9)


def test_levels_per_tier_add_up(ask: Ask, served: Served) -> None:
    levels = ask(served.target, "levels", served.symbol, per_tier=True)
    assert levels.tiers
    np.testing.assert_allclose(sum(t.long for t in levels.tiers.values()), levels.long, rtol=1e-9)
    np.testing.assert_allclose(sum(t.short for t in levels.tiers.values()), levels.short, rtol=1e-9)


def test_levels_min_notional_leaves_small_bins_out(ask: Ask, served: Served) -> None:
    everything = ask(served.target, "levels", served.symbol)
    largest = np.maximum(everything.long, everything.short)
    threshold = float(np.median(largest))
    levels = ask(served.target, "levels", served.symbol, min_notional=threshold)
    np.testing.assert_array_equal(levels.price, everything.price[largest >= threshold])


def test_levels_parameters_in_force_can_be_sent_again(ask: Ask, served: Served) -> None:
    levels = ask(served.target, "levels", served.symbol)
    # A hazard in force may be written out where the request left it to the rule.
    again = ask(
        served.target,
        "levels",
        served.symbol,
        as_of=levels.provenance.as_of,
        parameters=liqclient.Parameters(kappa=levels.provenance.parameters.kappa),
    )
    np.testing.assert_array_equal(again.price, levels.price)
    np.testing.assert_array_equal(again.long, levels.long)


def test_levels_any_answer_goes_through_json(ask: Ask, served: Served) -> None:
    levels = ask(served.target, "levels", served.symbol, per_tier=True)
    assert json.loads(json.dumps(levels.to_dict(), allow_nan=False)) == levels.to_dict()


def test_levels_unknown_symbol_raises_not_found_and_lists_the_known(ask: Ask, served: Served) -> None:
    with pytest.raises(liqclient.NotFound) as caught:
        ask(served.target, "levels", "NOSUCHUSDT")
    assert f"{served.venue}:{served.symbol}" in caught.value.known
    assert caught.value.reason == "SYMBOL_UNKNOWN"
    assert "NOSUCHUSDT" in str(caught.value)


def test_levels_unknown_model_raises_not_found_and_lists_the_known(ask: Ask, served: Served) -> None:
    with pytest.raises(liqclient.NotFound) as caught:
        ask(served.target, "levels", served.symbol, model="nosuch")
    assert served.model in caught.value.known
    assert caught.value.reason == "MODEL_UNKNOWN"


@pytest.mark.parametrize("as_of", [1, 4_000_000_000_000_000_000])
def test_levels_moment_outside_the_data_raises_and_tells_what_there_is(ask: Ask, served: Served, as_of: int) -> None:
    with pytest.raises(liqclient.OutOfRange) as caught:
        ask(served.target, "levels", served.symbol, as_of=as_of)
    assert (caught.value.start, caught.value.end) == (served.start, served.end)
    assert caught.value.reason


@pytest.mark.parametrize(
    ("argument", "field"),
    [
        ({"bin_size": 0.0123456789}, "bin_size"),
        ({"price_range": -0.1}, "price_range"),
        ({"parameters": liqclient.Parameters(kappa=2.0)}, "kappa"),
    ],
)
def test_levels_impossible_argument_raises_and_names_the_field(
    ask: Ask, served: Served, argument: dict[str, object], field: str
) -> None:
    with pytest.raises(liqclient.InvalidArgument) as caught:
        ask(served.target, "levels", served.symbol, **argument)
    assert any(field in violation.field for violation in caught.value.violations)
    assert caught.value.reason


def test_coverage_every_symbol_lists_its_kinds(ask: Ask, served: Served) -> None:
    coverage = ask(served.target, "coverage")
    mine = next(c for c in coverage if (c.venue, c.symbol) == (served.venue, served.symbol))
    assert "open_interest" in [kind.kind for kind in mine.kinds]
    for kind in mine.kinds:
        assert kind.start < kind.end
        assert kind.rows > 0


def test_coverage_unknown_symbol_raises_not_found(ask: Ask, served: Served) -> None:
    with pytest.raises(liqclient.NotFound) as caught:
        ask(served.target, "coverage", "NOSUCHUSDT")
    assert f"{served.venue}:{served.symbol}" in caught.value.known


def test_symbols_served_symbol_is_listed_with_its_price(ask: Ask, served: Served) -> None:
    symbols = ask(served.target, "symbols")
    mine = next(s for s in symbols if (s.venue, s.symbol) == (served.venue, served.symbol))
    assert mine.tick_size > 0
    assert mine.base_bin >= mine.tick_size
    assert mine.current_price > 0
    assert mine.watermarks


def test_models_default_comes_first_and_is_the_only_one(ask: Ask, served: Served) -> None:
    models = ask(served.target, "models")
    assert models[0].id == served.model
    assert [m.is_default for m in models] == [True] + [False] * (len(models) - 1)
    names = set(liqclient.Parameters.__dataclass_fields__)
    assert {p.name for m in models for p in m.parameters} <= names
