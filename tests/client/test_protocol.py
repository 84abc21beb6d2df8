"""What any server of the protocol does, asked through the client.

Nothing here knows the stand-in: the fixture ``served`` may as well be the real server.
"""

import itertools
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


def test_models_default_has_a_time_axis(ask: Ask, served: Served) -> None:
    assert ask(served.target, "models")[0].has_time_axis


def test_levels_derived_figures_add_up(ask: Ask, served: Served) -> None:
    levels = ask(served.target, "levels", served.symbol, derived=True)
    derived = levels.derived
    assert derived.cumulative_long.max() <= levels.long.sum() * (1 + 1e-9)
    assert derived.cumulative_short.max() <= levels.short.sum() * (1 + 1e-9)
    # Longs are met on the way down, shorts on the way up.
    below, above = levels.price + levels.bin_size <= levels.current_price, levels.price > levels.current_price
    assert np.all(np.diff(derived.cumulative_long[below]) <= 0)
    assert np.all(np.diff(derived.cumulative_short[above]) >= 0)
    assert [i.range for i in derived.imbalances] == pytest.approx([0.01, 0.02, 0.05, 0.1])
    for near, far in itertools.pairwise(derived.imbalances):
        assert near.long <= far.long
        assert near.short <= far.short
    for imbalance in derived.imbalances:
        if imbalance.imbalance is None:
            assert imbalance.long == imbalance.short == 0
        else:
            assert imbalance.imbalance == pytest.approx(
                (imbalance.short - imbalance.long) / (imbalance.short + imbalance.long)
            )
    for cluster in (derived.cluster_below, derived.cluster_above):
        if cluster is not None:
            assert cluster.low <= cluster.peak < cluster.high
            assert cluster.amount > 0
            assert cluster.distance >= 0
    assert json.loads(json.dumps(levels.to_dict(), allow_nan=False)) == levels.to_dict()


def test_levels_derived_figures_come_on_request_only(ask: Ask, served: Served) -> None:
    assert ask(served.target, "levels", served.symbol).derived is None


def test_heatmap_is_a_matrix_of_moments_by_prices(ask: Ask, served: Served) -> None:
    heatmap = ask(served.target, "heatmap", served.symbol, lookback="6h", interval="30m")
    assert heatmap.interval == 1_800_000_000_000
    assert np.all(np.diff(heatmap.ts) == heatmap.interval)
    assert heatmap.ts[-1] == heatmap.provenance.as_of
    assert np.all(np.diff(heatmap.price) > 0)
    shape = (len(heatmap.ts), len(heatmap.price))
    assert heatmap.long.shape == heatmap.short.shape == shape
    assert np.all(heatmap.long >= 0)
    assert np.all(heatmap.short >= 0)
    assert heatmap.long.any()
    assert heatmap.short.any()
    known = ~np.isnan(heatmap.close)
    assert known.any()
    assert np.all(heatmap.low[known] <= np.minimum(heatmap.open, heatmap.close)[known])
    assert np.all(heatmap.high[known] >= np.maximum(heatmap.open, heatmap.close)[known])
    assert json.loads(json.dumps(heatmap.to_dict(), allow_nan=False)) == heatmap.to_dict()


def test_heatmap_last_column_is_the_levels_of_that_moment(ask: Ask, served: Served) -> None:
    arguments = {"bin_size": 100.0, "price_range": 0.1, "unit": "qty"}
    heatmap = ask(served.target, "heatmap", served.symbol, lookback="2h", interval="1h", **arguments)
    levels = ask(served.target, "levels", served.symbol, as_of=int(heatmap.ts[-1]), **arguments)
    at = np.searchsorted(heatmap.price, levels.price)
    np.testing.assert_allclose(heatmap.long[-1][at], levels.long, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(heatmap.short[-1][at], levels.short, rtol=1e-6, atol=1e-9)
    assert heatmap.long[-1].sum() == pytest.approx(levels.long.sum(), rel=1e-6)


def test_heatmap_server_chooses_an_interval(ask: Ask, served: Served) -> None:
    heatmap = ask(served.target, "heatmap", served.symbol, start=served.end - 10**13, end=served.end)
    assert 1 < len(heatmap.ts) <= 500


def test_time_axis_is_missing_raises(ask: Ask, served: Served) -> None:
    without = next(m.id for m in ask(served.target, "models") if not m.has_time_axis)
    for method, arguments in (("heatmap", {}), ("audit", {"interval": "1h"}), ("replay", {"every": "1h"})):
        with pytest.raises(liqclient.LiqClientError) as caught:
            ask(served.target, method, served.symbol, model=without, **arguments)
        assert caught.value.reason


def test_compare_every_model_on_one_grid(ask: Ask, served: Served) -> None:
    comparison = ask(served.target, "compare", served.symbol)
    models = ask(served.target, "models")
    assert [m.model for m in comparison.models] == [m.id for m in models]
    answered = [i for i, m in enumerate(comparison.models) if m.unavailable is None]
    assert [comparison.models[i].provenance.model for i in answered] == [models[i].id for i in answered]
    for i in answered:
        assert comparison.models[i].long.shape == comparison.models[i].short.shape == comparison.price.shape
    assert {(p.a, p.b) for p in comparison.pairs} == set(itertools.combinations(answered, 2))
    for pair in comparison.pairs:
        for overlap in (pair.overlap_long, pair.overlap_short):
            assert overlap is None or 0 <= overlap <= 1
    assert json.loads(json.dumps(comparison.to_dict(), allow_nan=False)) == comparison.to_dict()


def test_compare_a_model_with_itself_under_other_parameters(ask: Ask, served: Served) -> None:
    choices = [served.model, (served.model, liqclient.Parameters(kappa=0.9))]
    comparison = ask(served.target, "compare", served.symbol, choices, unit="qty")
    assert comparison.unit == "qty"
    assert comparison.models[1].provenance.parameters.kappa == 0.9
    (pair,) = comparison.pairs
    assert (pair.a, pair.b) == (0, 1)
    assert pair.overlap_long is not None
    assert pair.differ_most_side in ("long", "short")
    assert abs(pair.differ_most) <= 1


def test_compare_unknown_model_raises_not_found(ask: Ask, served: Served) -> None:
    with pytest.raises(liqclient.NotFound) as caught:
        ask(served.target, "compare", served.symbol, [served.model, "nosuch"])
    assert served.model in caught.value.known


def test_liquidations_pages_are_the_whole_in_order(ask: Ask, served: Served) -> None:
    whole = ask(served.target, "liquidations", served.symbol)
    columns = whole.liquidations
    assert np.all(np.diff(columns.ts_event) >= 0)
    assert set(columns.side.tolist()) <= set(liqclient.PositionSide)
    np.testing.assert_allclose(columns.price * columns.qty, columns.notional)
    pages = ask(served.target, "liquidation_pages", served.symbol, page_size=max(1, whole.total_rows // 3))
    assert all(page.total_rows == whole.total_rows for page in pages)
    assert [bool(page.next_page_token) for page in pages] == [True] * (len(pages) - 1) + [False]
    together = np.concatenate([page.liquidations.ts_event for page in pages])
    assert len(together) == whole.total_rows
    np.testing.assert_array_equal(together[: len(columns.ts_event)], columns.ts_event)


def test_liquidations_by_interval_add_up_to_those_one_by_one(ask: Ask, served: Served) -> None:
    pages = ask(served.target, "liquidation_pages", served.symbol)
    buckets = ask(served.target, "liquidations", served.symbol, interval="1h").buckets
    assert np.all(np.diff(buckets.ts) > 0)
    for side, notional, qty, count in (
        (liqclient.PositionSide.LONG, buckets.long_notional, buckets.long_qty, buckets.long_count),
        (liqclient.PositionSide.SHORT, buckets.short_notional, buckets.short_qty, buckets.short_count),
    ):
        mine = [page.liquidations.side == side for page in pages]
        assert sum(m.sum() for m in mine) == count.sum()
        rows = [page.liquidations for page in pages]
        assert sum(r.qty[m].sum() for r, m in zip(rows, mine, strict=True)) == pytest.approx(qty.sum())
        assert sum(r.notional[m].sum() for r, m in zip(rows, mine, strict=True)) == pytest.approx(notional.sum())


@pytest.mark.parametrize("side", ["long", "short"])
def test_liquidations_one_side_leaves_the_other_out(ask: Ask, served: Served, side: str) -> None:
    columns = ask(served.target, "liquidations", served.symbol, side=side).liquidations
    assert np.all(columns.side == liqclient.PositionSide[side.upper()])


def test_liquidations_unknown_symbol_raises_not_found(ask: Ask, served: Served) -> None:
    with pytest.raises(liqclient.NotFound) as caught:
        ask(served.target, "liquidations", "NOSUCHUSDT")
    assert f"{served.venue}:{served.symbol}" in caught.value.known


def test_audit_accounts_for_what_is_open(ask: Ask, served: Served) -> None:
    end = served.start + 24 * 3600 * 10**9
    audit = ask(served.target, "audit", served.symbol, interval="1h", start=served.start, end=end, unit="qty")
    assert (audit.interval, audit.unit) == (3600 * 10**9, "qty")
    assert len(audit.open_time) == 24
    assert np.all(np.diff(audit.open_time) == audit.interval)
    change = audit.open_interest_end - audit.open_interest_start
    for opened, closed, liquidated in (
        (audit.opened_long, audit.closed_long, audit.liquidated_long),
        (audit.opened_short, audit.closed_short, audit.liquidated_short),
    ):
        np.testing.assert_allclose(opened - closed - liquidated, change, atol=1e-6 * audit.open_interest_end.max())
    np.testing.assert_allclose(audit.open_interest_end[:-1], audit.open_interest_start[1:])
    assert np.all((audit.no_level_share >= 0) & (audit.no_level_share <= 1))


def test_replay_gives_the_levels_of_each_moment(ask: Ask, served: Served) -> None:
    start = served.end - 4 * 3600 * 10**9
    replayed = ask(served.target, "replay", served.symbol, every="1h", start=start, bin_size=100.0, derived=True)
    assert [levels.provenance.as_of for levels in replayed] == [start + i * 3600 * 10**9 for i in range(5)]
    assert all(levels.derived is not None for levels in replayed)
    asked = ask(served.target, "levels", served.symbol, as_of=start, bin_size=100.0)
    np.testing.assert_array_equal(replayed[0].price, asked.price)
    np.testing.assert_allclose(replayed[0].long, asked.long, rtol=1e-6)


def test_replay_impossible_step_raises_and_names_the_field(ask: Ask, served: Served) -> None:
    with pytest.raises(liqclient.InvalidArgument) as caught:
        ask(served.target, "replay", served.symbol, every=1)
    assert any("every" in violation.field for violation in caught.value.violations)


@pytest.mark.parametrize(("method", "arguments"), [("heatmap", {}), ("replay", {"every": "1h"})])
def test_past_outside_the_data_raises_and_tells_what_there_is(
    ask: Ask, served: Served, method: str, arguments: dict[str, str]
) -> None:
    with pytest.raises(liqclient.OutOfRange) as caught:
        ask(served.target, method, served.symbol, start=1, **arguments)
    assert (caught.value.start, caught.value.end) == (served.start, served.end)
