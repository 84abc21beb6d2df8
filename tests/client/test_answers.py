"""What messages become."""

import csv
import datetime as dt
import io
import json
import pickle
from typing import Any

import numpy as np
import pytest

import liqclient
from liqserver.v1 import admin_pb2, common_pb2, liquidation_pb2, market_data_pb2

from .conftest import Ask
from .standin import (
    AUDIT_COLUMNS,
    BIN_SIZE,
    END,
    MINUTE,
    OTHER,
    START,
    Standin,
    audit_message,
    compare_message,
    heatmap_message,
    levels_message,
    liquidations_message,
    provenance,
)


def test_levels_every_field_is_decoded(ask: Ask, server: Standin) -> None:
    server.answer = levels_message(
        levels=liquidation_pb2.LevelColumns(
            price=[95_000, 105_000],
            long=[1.5, 0],
            short=[0, 2.5],
            tiers=[
                liquidation_pb2.TierColumns(leverage=12.5, long=[0.5, 0], short=[0, 1]),
                liquidation_pb2.TierColumns(leverage=50, long=[1, 0], short=[0, 1.5]),
            ],
        )
    )
    levels = ask(server.target, "levels", "BTCUSDT")
    np.testing.assert_array_equal(levels.price, [95_000, 105_000])
    np.testing.assert_array_equal(levels.long, [1.5, 0])
    np.testing.assert_array_equal(levels.short, [0, 2.5])
    assert list(levels.tiers) == [12.5, 50]
    assert levels.tiers[50].leverage == 50
    np.testing.assert_array_equal(levels.tiers[12.5].long, [0.5, 0])
    np.testing.assert_array_equal(levels.tiers[50].short, [0, 1.5])
    assert (levels.bin_size, levels.unit, levels.current_price) == (50.0, "notional", 100_000.0)
    assert levels.totals == liqclient.BookTotals(long=10, short=20, long_in_range=1.5, short_in_range=2.5)
    assert levels.provenance == liqclient.Provenance(
        venue="BINANCE",
        symbol="BTCUSDT",
        as_of=END,
        generated_at=END + 5_000_000_000,
        watermarks=(
            liqclient.Watermark(kind="trades", ts_event=END - 60, ts_init=END - 50, staleness=60),
            liqclient.Watermark(kind="open_interest", ts_event=END - 90, ts_init=END - 80, staleness=90),
        ),
        staleness=90,
        model="position_book",
        parameters=liqclient.Parameters(
            kappa=0.35,
            taker_tilt=0.0,
            tiers=[liqclient.LeverageTier(leverage=10, weight=0.6, hazard=1.5)],
            margin_formula="exact",
        ),
        parameters_hash="0123456789abcdef",
        inputs_hash="fedcba9876543210",
        bracket_table="BINANCE:BTCUSDT:2025-08-21",
        current_price=100_000.0,
        current_price_source="mark_price",
        current_price_ts=END - 60,
        open_interest=80_000.5,
        no_level_share_long=0.25,
        no_level_share_short=0.125,
        unknown_entry_share_long=0.5,
        unknown_entry_share_short=0.375,
        kline_volume_share=0.0625,
        last_price_path_share=0.03125,
        history_start=START,
        notices=("Trades of one hour are missing.",),
    )
    assert levels.provenance.as_of_datetime == dt.datetime(2025, 10, 10, 8, 53, 20, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (liqclient.Provenance, common_pb2.Provenance),
        (liqclient.Parameters, common_pb2.ModelParameters),
        (liqclient.LeverageTier, common_pb2.LeverageTier),
        (liqclient.Watermark, common_pb2.Watermark),
        (liqclient.BookTotals, liquidation_pb2.BookTotals),
        (liqclient.TierLevels, liquidation_pb2.TierColumns),
        (liqclient.Cluster, liquidation_pb2.Cluster),
        (liqclient.Imbalance, liquidation_pb2.Imbalance),
        (liqclient.DerivedFigures, liquidation_pb2.DerivedFigures),
        (liqclient.Heatmap, liquidation_pb2.GetHeatmapResponse),
        (liqclient.Comparison, liquidation_pb2.CompareModelsResponse),
        (liqclient.ComparedModel, liquidation_pb2.ComparedModel),
        (liqclient.ModelPair, liquidation_pb2.ModelPair),
        (liqclient.Liquidations, liquidation_pb2.ListLiquidationsResponse),
        (liqclient.LiquidationColumns, liquidation_pb2.LiquidationColumns),
        (liqclient.LiquidationBuckets, liquidation_pb2.LiquidationBuckets),
        (liqclient.Audit, liquidation_pb2.GetAuditResponse),
        (liqclient.IngestProgress, admin_pb2.IngestResponse),
        (liqclient.IngestedFile, admin_pb2.IngestedFile),
        (liqclient.StoredFile, admin_pb2.StoredFile),
        (liqclient.KindCoverage, market_data_pb2.KindCoverage),
        (liqclient.SymbolCoverage, market_data_pb2.SymbolCoverage),
        (liqclient.SymbolInfo, market_data_pb2.SymbolInfo),
        (liqclient.ModelInfo, market_data_pb2.ModelInfo),
        (liqclient.ParameterInfo, market_data_pb2.ParameterInfo),
    ],
)
def test_answer_types_have_every_field_of_their_message(cls: type, message: type) -> None:
    assert list(cls.__dataclass_fields__) == [f.name for f in message.DESCRIPTOR.fields]  # type: ignore[attr-defined]


def test_levels_columns_are_read_only_and_outlive_the_client(ask: Ask, server: Standin) -> None:
    levels = ask(server.target, "levels", "BTCUSDT", per_tier=True)
    tiers = levels.tiers.values()
    columns = [levels.price, levels.long, levels.short, *(t.long for t in tiers), *(t.short for t in tiers)]
    assert len(columns) == 9
    for column in columns:
        assert column.dtype == np.float64
        assert column.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1.0


def test_levels_empty_book_has_empty_columns(ask: Ask, server: Standin) -> None:
    server.answer = levels_message(levels=liquidation_pb2.LevelColumns())
    levels = ask(server.target, "levels", "BTCUSDT")
    assert levels.price.shape == levels.long.shape == levels.short.shape == (0,)
    assert levels.price.dtype == np.float64
    assert levels.to_csv() == "price,long,short\n"


def test_levels_large_answer_beyond_the_cap_of_grpc_arrives(ask: Ask, server: Standin) -> None:
    n = 300_000  # 7.2 MB
    column = np.arange(n, dtype=np.float64)
    server.answer = levels_message(levels=liquidation_pb2.LevelColumns(price=column, long=column, short=column))
    levels = ask(server.target, "levels", "BTCUSDT")
    np.testing.assert_array_equal(levels.short, column)


@pytest.mark.parametrize("part", ["levels", "totals", "provenance", "bin_size", "unit"])
def test_levels_part_is_missing_raises_and_names_it(ask: Ask, server: Standin, part: str) -> None:
    message = levels_message()
    message.ClearField(part)  # type: ignore[arg-type]
    server.answer = message
    with pytest.raises(liqclient.InvalidAnswer, match=part):
        ask(server.target, "levels", "BTCUSDT")


@pytest.mark.parametrize("field", ["as_of", "current_price"])
def test_levels_moment_or_price_is_missing_raises_and_names_it(ask: Ask, server: Standin, field: str) -> None:
    server.answer = levels_message(provenance=provenance(**{field: 0}))
    with pytest.raises(liqclient.InvalidAnswer, match=f"provenance.{field}"):
        ask(server.target, "levels", "BTCUSDT")


@pytest.mark.parametrize(
    "columns",
    [
        liquidation_pb2.LevelColumns(price=[1, 2], long=[1], short=[0, 1]),
        liquidation_pb2.LevelColumns(price=[1, 2], long=[1, 0]),
        liquidation_pb2.LevelColumns(
            price=[1], long=[1], short=[0], tiers=[liquidation_pb2.TierColumns(leverage=10, long=[1])]
        ),
        liquidation_pb2.LevelColumns(tiers=[liquidation_pb2.TierColumns(leverage=10)] * 2),
    ],
    ids=["short column", "no column", "no tier column", "tier twice"],
)
def test_levels_columns_that_do_not_fit_raise(ask: Ask, server: Standin, columns: liquidation_pb2.LevelColumns) -> None:
    server.answer = levels_message(levels=columns)
    with pytest.raises(liqclient.InvalidAnswer):
        ask(server.target, "levels", "BTCUSDT")


def test_levels_fields_not_on_the_wire_are_none(ask: Ask, server: Standin) -> None:
    server.answer = levels_message(
        provenance=common_pb2.Provenance(
            as_of=END, current_price=1.0, watermarks=[common_pb2.Watermark(kind=common_pb2.DATA_KIND_FUNDING)]
        )
    )
    where = ask(server.target, "levels", "BTCUSDT").provenance
    assert where.generated_at is None
    assert where.open_interest is None
    assert where.current_price_ts is None
    assert where.current_price_source is None
    assert where.bracket_table is None
    assert where.history_start is None
    assert where.parameters == liqclient.Parameters()
    assert where.watermarks == (liqclient.Watermark(kind="funding", ts_event=None, ts_init=None, staleness=0),)


def test_levels_kind_of_a_newer_server_is_none(ask: Ask, server: Standin) -> None:
    newer = common_pb2.Watermark.FromString(b"\x08\x63\x10\x01")  # kind 99, ts_event 1
    server.answer = levels_message(provenance=provenance(watermarks=[newer]))
    (watermark,) = ask(server.target, "levels", "BTCUSDT").provenance.watermarks
    assert watermark.kind is None
    assert watermark.ts_event == 1


def test_levels_unit_of_a_newer_server_raises(ask: Ask, server: Standin) -> None:
    message = levels_message()
    message.MergeFromString(b"\x18\x63")  # unit 99
    server.answer = message
    with pytest.raises(liqclient.InvalidAnswer, match="unit"):
        ask(server.target, "levels", "BTCUSDT")


def test_levels_repr_fits_a_line(ask: Ask, server: Standin) -> None:
    levels = ask(server.target, "levels", "BTCUSDT")
    assert repr(levels) == (
        "<Levels BTCUSDT.BINANCE position_book as of 2025-10-10T08:53:20+00:00: 4 bins of 50, notional, price 100000>"
    )


def test_levels_to_dict_mirrors_the_answer(ask: Ask, server: Standin) -> None:
    levels = ask(server.target, "levels", "BTCUSDT", per_tier=True)
    read = json.loads(json.dumps(levels.to_dict()))
    bands = ["long_low", "long_high", "short_low", "short_high"]
    assert list(read) == [
        *("price", "long", "short", "tiers", "bin_size", "unit", "totals", "provenance", "derived"),
        *bands,
    ]
    assert [read[name] for name in bands] == [None] * 4
    assert read["price"] == levels.price.tolist()
    assert [tier["leverage"] for tier in read["tiers"]] == [3.0, 10.0, 25.0]
    assert read["tiers"][1]["long"] == levels.tiers[10].long.tolist()
    assert read["totals"]["long_in_range"] == levels.totals.long_in_range
    assert read["provenance"]["as_of"] == END
    assert read["provenance"]["watermarks"][0]["kind"] == "trades"
    assert read["provenance"]["parameters"]["tiers"] == [{"leverage": 10.0, "weight": 0.6, "hazard": 1.5}]
    assert read["provenance"]["parameters"]["no_level_weight"] is None
    assert read["derived"] is None


def test_bands_are_columns_of_the_levels(ask: Ask, server: Standin) -> None:
    ends = {"long_low": [1.0, 0.0], "long_high": [4.0, 0.0], "short_low": [0.0, 2.0], "short_high": [0.0, 9.0]}
    server.answer = levels_message(
        levels=liquidation_pb2.LevelColumns(price=[10.0, 20.0], long=[2.0, 0.0], short=[0.0, 5.0], **ends)
    )
    levels = ask(server.target, "levels", "BTCUSDT", band=0.8, calibration="abc")
    [request] = server.requests
    assert (request.query.band, request.query.calibration) == (0.8, "abc")
    for name, column in ends.items():
        assert getattr(levels, name).tolist() == column
        assert not getattr(levels, name).flags.writeable
    [first, second] = csv.DictReader(io.StringIO(levels.to_csv()))
    assert {name: [float(first[name]), float(second[name])] for name in ends} == ends
    server.answer.levels.long_high.append(1.0)
    with pytest.raises(liqclient.InvalidAnswer, match="long_high"):
        ask(server.target, "levels", "BTCUSDT", band=0.8)


def test_levels_to_csv_reads_back_to_the_same_numbers(ask: Ask, server: Standin) -> None:
    third = 1 / 3
    server.answer = levels_message(
        levels=liquidation_pb2.LevelColumns(
            price=[0.1, 0.2],
            long=[third, 0],
            short=[0, 1e-9],
            tiers=[liquidation_pb2.TierColumns(leverage=12.5, long=[third, 0], short=[0, 1e-9])],
        )
    )
    text = ask(server.target, "levels", "BTCUSDT", per_tier=True).to_csv()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["price", "long", "short", "long_12.5x", "short_12.5x"]
    assert [float(row["price"]) for row in rows] == [0.1, 0.2]
    assert [float(row["long_12.5x"]) for row in rows] == [third, 0.0]
    assert [float(row["short"]) for row in rows] == [0.0, 1e-9]
    assert text.endswith("\n")
    assert "\r" not in text


def test_levels_go_through_pickle(ask: Ask, server: Standin) -> None:
    levels = ask(server.target, "levels", "BTCUSDT", per_tier=True)
    assert pickle.loads(pickle.dumps(levels)).to_dict() == levels.to_dict()


def test_coverage_every_field_is_decoded(ask: Ask, server: Standin) -> None:
    server.answer = market_data_pb2.GetCoverageResponse(
        symbols=[
            market_data_pb2.SymbolCoverage(
                venue="BINANCE",
                symbol="BTCUSDT",
                kinds=[
                    market_data_pb2.KindCoverage(
                        kind=common_pb2.DATA_KIND_KLINES,
                        start=1,
                        end=2,
                        rows=3,
                        stored_rows=4,
                        files=5,
                        interval=6,
                        missing=7,
                        dropped_rows=8,
                        notices=["One row was no number."],
                    ),
                    market_data_pb2.KindCoverage(kind=common_pb2.DATA_KIND_LIQUIDATIONS),
                ],
            )
        ]
    )
    assert ask(server.target, "coverage") == [
        liqclient.SymbolCoverage(
            venue="BINANCE",
            symbol="BTCUSDT",
            kinds=(
                liqclient.KindCoverage(
                    kind="klines",
                    start=1,
                    end=2,
                    rows=3,
                    stored_rows=4,
                    files=5,
                    interval=6,
                    missing=7,
                    dropped_rows=8,
                    notices=("One row was no number.",),
                ),
                liqclient.KindCoverage(
                    kind="liquidations",
                    start=None,
                    end=None,
                    rows=0,
                    stored_rows=0,
                    files=0,
                    interval=None,
                    missing=0,
                    dropped_rows=0,
                    notices=(),
                ),
            ),
        )
    ]


def test_symbols_every_field_is_decoded(ask: Ask, server: Standin) -> None:
    server.answer = market_data_pb2.ListSymbolsResponse(
        symbols=[
            market_data_pb2.SymbolInfo(
                venue="BINANCE",
                symbol="BTCUSDT",
                tick_size=0.1,
                base_bin=5,
                current_price=9,
                current_price_ts=7,
                current_price_source=common_pb2.DATA_KIND_KLINES,
                bracket_table="BINANCE:BTCUSDT:2025-08-21",
                watermarks=[
                    common_pb2.Watermark(kind=common_pb2.DATA_KIND_FUNDING, ts_event=1, ts_init=2, staleness=3)
                ],
            ),
            market_data_pb2.SymbolInfo(venue="BINANCE", symbol="NEWUSDT"),
        ]
    )
    assert ask(server.target, "symbols") == [
        liqclient.SymbolInfo(
            venue="BINANCE",
            symbol="BTCUSDT",
            tick_size=0.1,
            base_bin=5.0,
            current_price=9.0,
            current_price_ts=7,
            current_price_source="klines",
            bracket_table="BINANCE:BTCUSDT:2025-08-21",
            watermarks=(liqclient.Watermark(kind="funding", ts_event=1, ts_init=2, staleness=3),),
        ),
        liqclient.SymbolInfo(
            venue="BINANCE",
            symbol="NEWUSDT",
            tick_size=None,
            base_bin=None,
            current_price=None,
            current_price_ts=None,
            current_price_source=None,
            bracket_table=None,
            watermarks=(),
        ),
    ]


def test_models_every_field_is_decoded(ask: Ask, server: Standin) -> None:
    assert ask(server.target, "models") == [
        liqclient.ModelInfo(
            id="position_book",
            description="A book of positions.",
            source="liqserver",
            limits="Entries before the first data are unknown.",
            is_default=True,
            parameters=(
                liqclient.ParameterInfo(name="kappa", description="Share.", default_value="0.35", allowed="(0, 1]"),
            ),
            required=("trades", "open_interest"),
            has_time_axis=True,
        ),
        liqclient.ModelInfo(
            id=OTHER,
            description="A map of trades.",
            source="py-liquidation-map",
            limits="",
            is_default=False,
            parameters=(),
            required=(),
            has_time_axis=False,
        ),
    ]


def test_levels_every_parameter_in_force_is_decoded(ask: Ask, server: Standin) -> None:
    server.answer = levels_message(
        provenance=provenance(
            parameters=common_pb2.ModelParameters(
                lookback=30 * MINUTE,
                whale_threshold=1e5,
                gross_value=2e5,
                top_n=0,
                portion=0.5,
                funding_tilt=0.0,
                compat=common_pb2.COMPAT_ORIGINAL,
            )
        )
    )
    assert ask(server.target, "levels", "BTCUSDT").provenance.parameters == liqclient.Parameters(
        lookback=30 * MINUTE,
        whale_threshold=1e5,
        gross_value=2e5,
        top_n=0,
        portion=0.5,
        funding_tilt=0.0,
        compat="original",
    )


def test_levels_derived_figures_are_decoded(ask: Ask, server: Standin) -> None:
    server.answer = levels_message(
        derived=liquidation_pb2.DerivedFigures(
            cluster_below=liquidation_pb2.Cluster(
                low=94_000, high=96_000, peak=95_000, amount=7.5, distance=0.04, distance_volatility=2.0
            ),
            cluster_above=liquidation_pb2.Cluster(low=101_000, high=102_000, peak=101_500, amount=0.5),
            cumulative_long=[1.5, 0],
            cumulative_short=[0, 2.5],
            imbalances=[
                liquidation_pb2.Imbalance(range=0.01, long=0, short=0),
                liquidation_pb2.Imbalance(range=0.1, long=1.5, short=1.5, imbalance=0.0),
            ],
            realised_volatility=0.02,
        )
    )
    derived = ask(server.target, "levels", "BTCUSDT", derived=True).derived
    assert derived.cluster_below == liqclient.Cluster(
        low=94_000, high=96_000, peak=95_000, amount=7.5, distance=0.04, distance_volatility=2.0
    )
    assert derived.cluster_above == liqclient.Cluster(
        low=101_000, high=102_000, peak=101_500, amount=0.5, distance=0, distance_volatility=None
    )
    np.testing.assert_array_equal(derived.cumulative_long, [1.5, 0])
    np.testing.assert_array_equal(derived.cumulative_short, [0, 2.5])
    assert not derived.cumulative_long.flags.writeable
    assert derived.imbalances == (
        liqclient.Imbalance(range=0.01, long=0, short=0, imbalance=None),
        liqclient.Imbalance(range=0.1, long=1.5, short=1.5, imbalance=0.0),
    )
    assert derived.realised_volatility == 0.02


def test_levels_derived_figures_that_are_not_known_are_none(ask: Ask, server: Standin) -> None:
    server.answer = levels_message(
        levels=liquidation_pb2.LevelColumns(), derived=liquidation_pb2.DerivedFigures(realised_volatility=0)
    )
    derived = ask(server.target, "levels", "BTCUSDT", derived=True).derived
    assert (derived.cluster_below, derived.cluster_above, derived.imbalances) == (None, None, ())
    assert derived.realised_volatility == 0.0
    server.answer = levels_message(
        levels=liquidation_pb2.LevelColumns(), derived=liquidation_pb2.DerivedFigures(realised_volatility=None)
    )
    assert ask(server.target, "levels", "BTCUSDT", derived=True).derived.realised_volatility is None


@pytest.mark.parametrize(
    ("derived", "name"),
    [
        (liquidation_pb2.DerivedFigures(cumulative_long=[1], cumulative_short=[1, 2]), "cumulative_long"),
        (liquidation_pb2.DerivedFigures(cumulative_long=[1, 2]), "cumulative_short"),
        (
            liquidation_pb2.DerivedFigures(
                cumulative_long=[1, 2], cumulative_short=[1, 2], cluster_below=liquidation_pb2.Cluster(low=1, amount=1)
            ),
            "cluster_below.high",
        ),
        (
            liquidation_pb2.DerivedFigures(
                cumulative_long=[1, 2], cumulative_short=[1, 2], cluster_above=liquidation_pb2.Cluster(low=1, high=1)
            ),
            "cluster_above.amount",
        ),
        (
            liquidation_pb2.DerivedFigures(
                cumulative_long=[1, 2], cumulative_short=[1, 2], imbalances=[liquidation_pb2.Imbalance(long=1)]
            ),
            "imbalances.range",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_levels_derived_figures_that_make_no_sense_raise(
    ask: Ask, server: Standin, derived: liquidation_pb2.DerivedFigures, name: str
) -> None:
    server.answer = levels_message(derived=derived)
    with pytest.raises(liqclient.InvalidAnswer, match=name):
        ask(server.target, "levels", "BTCUSDT", derived=True)


def test_heatmap_every_field_is_decoded(ask: Ask, server: Standin) -> None:
    server.answer = heatmap_message()
    heatmap = ask(server.target, "heatmap", "BTCUSDT")
    assert heatmap.ts.dtype == np.int64
    assert heatmap.ts.tolist() == [END - 2 * MINUTE, END - MINUTE, END]
    assert heatmap.price.tolist() == [95_000, 105_000]
    # Row by row of one moment.
    assert heatmap.long.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert heatmap.short.tolist() == [[6, 5], [4, 3], [2, 1]]
    for column, expected in (
        (heatmap.open, [np.nan, 1, 2]),
        (heatmap.high, [np.nan, 3, 4]),
        (heatmap.low, [np.nan, 5, 6]),
        (heatmap.close, [np.nan, 7, 8]),
        (heatmap.liquidated_long, [0, 0.5, 1]),
        (heatmap.liquidated_short, [1, 0.25, 0]),
    ):
        np.testing.assert_array_equal(column, expected)
    assert (heatmap.bin_size, heatmap.interval, heatmap.unit) == (BIN_SIZE, MINUTE, "qty")
    assert heatmap.provenance.as_of == END
    assert repr(heatmap) == (
        "<Heatmap BTCUSDT.BINANCE position_book up to 2025-10-10T08:53:20+00:00: "
        "3 moments every 60 s, 2 bins of 50, qty>"
    )


def test_heatmap_arrays_are_read_only_in_rows(ask: Ask, server: Standin) -> None:
    server.answer = heatmap_message()
    heatmap = ask(server.target, "heatmap", "BTCUSDT")
    for array in (heatmap.ts, heatmap.price, heatmap.long, heatmap.short, heatmap.open, heatmap.liquidated_long):
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_heatmap_to_dict_goes_through_json_without_nan(ask: Ask, server: Standin) -> None:
    server.answer = heatmap_message()
    heatmap = ask(server.target, "heatmap", "BTCUSDT")
    read = json.loads(json.dumps(heatmap.to_dict(), allow_nan=False))
    assert list(read) == list(liqclient.Heatmap.__dataclass_fields__)
    assert read["long"] == [[1, 2], [3, 4], [5, 6]]
    assert read["open"] == [None, 1, 2]
    assert read["ts"][-1] == END
    assert read["provenance"]["symbol"] == "BTCUSDT"


def test_heatmap_without_bins_keeps_its_shape(ask: Ask, server: Standin) -> None:
    server.answer = heatmap_message(price=[], long=[], short=[])
    assert ask(server.target, "heatmap", "BTCUSDT").long.shape == (3, 0)


@pytest.mark.parametrize(
    "field", [name for name in liqclient.Heatmap.__dataclass_fields__ if name not in ("ts", "price")]
)
def test_heatmap_part_is_missing_raises_and_names_it(ask: Ask, server: Standin, field: str) -> None:
    message = heatmap_message()
    message.ClearField(field)  # type: ignore[arg-type]
    server.answer = message
    with pytest.raises(liqclient.InvalidAnswer, match=field):
        ask(server.target, "heatmap", "BTCUSDT")


def test_compare_every_field_is_decoded(ask: Ask, server: Standin) -> None:
    server.answer = compare_message()
    comparison = ask(server.target, "compare", "BTCUSDT")
    assert comparison.price.tolist() == [95_000, 105_000]
    assert (comparison.bin_size, comparison.unit) == (BIN_SIZE, "qty")
    first, second, third = comparison.models
    assert first.long.tolist() == [1.5, 0]
    assert first.short.tolist() == [0, 2.5]
    assert not first.long.flags.writeable
    assert first.totals == liqclient.BookTotals(long=10, short=0, long_in_range=0, short_in_range=0)
    assert (first.provenance.model, first.unavailable) == ("position_book", None)
    assert (second.long, second.short, second.totals, second.provenance) == (None, None, None, None)
    assert (second.model, second.unavailable) == ("pyliqmap", "it needs trades")
    assert third.provenance.model == OTHER
    assert comparison.pairs == (
        liqclient.ModelPair(
            a=0,
            b=2,
            overlap_long=0.0,
            overlap_short=None,
            rank_correlation_long=-0.5,
            rank_correlation_short=0.25,
            differ_most_price=105_000,
            differ_most_side="short",
            differ_most=-0.125,
        ),
    )
    assert repr(comparison) == f"<Comparison position_book, pyliqmap (unavailable), {OTHER}: 2 bins of 50, qty>"
    read = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert read["models"][0]["long"] == [1.5, 0]
    assert read["models"][1]["long"] is None
    assert read["pairs"][0]["differ_most_side"] == "short"


def test_compare_unavailable_model_carries_no_numbers_whatever_was_sent(ask: Ask, server: Standin) -> None:
    message = compare_message(pairs=[])
    message.models[0].unavailable = "it needs trades"
    server.answer = message
    model = ask(server.target, "compare", "BTCUSDT").models[0]
    assert (model.long, model.short, model.totals, model.provenance) == (None, None, None, None)


def test_compare_models_that_do_not_differ_have_no_place_where_they_do(ask: Ask, server: Standin) -> None:
    pair = liquidation_pb2.ModelPair(a=0, b=2)
    server.answer = compare_message(pairs=[pair])
    (answer,) = ask(server.target, "compare", "BTCUSDT").pairs
    assert (answer.differ_most_price, answer.differ_most_side, answer.differ_most) == (None, None, None)


@pytest.mark.parametrize(
    "pair",
    [
        liquidation_pb2.ModelPair(a=0, b=3),
        liquidation_pb2.ModelPair(a=-1, b=0),
        liquidation_pb2.ModelPair(a=0, b=1),
        liquidation_pb2.ModelPair(a=0, b=2, differ_most_price=1.0),
    ],
    ids=["no such model", "negative", "unavailable model", "no side"],
)
def test_compare_pair_that_makes_no_sense_raises(ask: Ask, server: Standin, pair: liquidation_pb2.ModelPair) -> None:
    server.answer = compare_message(pairs=[pair])
    with pytest.raises(liqclient.InvalidAnswer):
        ask(server.target, "compare", "BTCUSDT")


@pytest.mark.parametrize("field", ["long", "short", "totals", "provenance"])
def test_compare_part_of_a_model_is_missing_raises_and_names_it(ask: Ask, server: Standin, field: str) -> None:
    message = compare_message()
    message.models[2].ClearField(field)  # type: ignore[arg-type]
    server.answer = message
    with pytest.raises(liqclient.InvalidAnswer, match=field):
        ask(server.target, "compare", "BTCUSDT")


@pytest.mark.parametrize("field", ["bin_size", "unit"])
def test_compare_part_is_missing_raises_and_names_it(ask: Ask, server: Standin, field: str) -> None:
    message = compare_message()
    message.ClearField(field)  # type: ignore[arg-type]
    server.answer = message
    with pytest.raises(liqclient.InvalidAnswer, match=field):
        ask(server.target, "compare", "BTCUSDT")


def test_liquidations_one_by_one_are_decoded(ask: Ask, server: Standin) -> None:
    server.answer = liquidations_message()
    page = ask(server.target, "liquidations", "BTCUSDT")
    columns = page.liquidations
    assert columns.ts_event.dtype == np.int64
    assert columns.ts_event.tolist() == [START, START + 1]
    assert columns.side.dtype == np.int8
    assert columns.side.tolist() == [liqclient.PositionSide.SHORT, liqclient.PositionSide.LONG] == [-1, 1]
    assert columns.price.tolist() == [100_000, 99_000]
    assert columns.qty.tolist() == [0.5, 2]
    assert columns.notional.tolist() == [50_000, 198_000]
    for column in (columns.ts_event, columns.side, columns.price, columns.qty, columns.notional):
        assert not column.flags.writeable
    assert page.buckets is None
    assert (page.next_page_token, page.total_rows) == ("t2", 5)
    assert (page.recorded_start, page.recorded_end, page.generated_at) == (START, END, END + 1)
    assert page.notices == ("The exchange sends at most one a second.",)
    assert repr(page) == "<Liquidations 2 one by one, 5 rows in all, more pages follow>"
    assert json.loads(json.dumps(page.to_dict()))["liquidations"]["side"] == [-1, 1]


def test_liquidations_by_interval_are_decoded(ask: Ask, server: Standin) -> None:
    server.answer = liquidations_message(
        liquidations=None,
        next_page_token="",
        buckets=liquidation_pb2.LiquidationBuckets(
            ts=[START],
            long_notional=[1.5],
            short_notional=[2.5],
            long_qty=[3.5],
            short_qty=[4.5],
            long_count=[5],
            short_count=[6],
        ),
    )
    page = ask(server.target, "liquidations", "BTCUSDT", interval="1h")
    assert page.liquidations is None
    columns = {name: getattr(page.buckets, name) for name in liqclient.LiquidationBuckets.__dataclass_fields__}
    assert [c.tolist() for c in columns.values()] == [[START], [1.5], [2.5], [3.5], [4.5], [5], [6]]
    assert {name for name, c in columns.items() if c.dtype == np.int64} == {"ts", "long_count", "short_count"}
    assert not any(c.flags.writeable for c in columns.values())
    assert repr(page) == "<Liquidations 1 intervals, 5 rows in all>"


def test_liquidations_nothing_recorded_is_an_empty_page(ask: Ask, server: Standin) -> None:
    message = liquidation_pb2.ListLiquidationsResponse(liquidations=liquidation_pb2.LiquidationColumns())
    server.answer = message
    page = ask(server.target, "liquidations", "BTCUSDT")
    assert page.liquidations.side.shape == (0,)
    assert (page.recorded_start, page.recorded_end, page.generated_at) == (None, None, None)
    assert (page.total_rows, page.next_page_token, page.notices) == (0, "", ())


def one_liquidation(**changes: Any) -> liquidation_pb2.LiquidationColumns:
    fields: dict[str, Any] = {name: [1] for name in liqclient.LiquidationColumns.__dataclass_fields__}
    return liquidation_pb2.LiquidationColumns(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"liquidations": None},
        {"buckets": liquidation_pb2.LiquidationBuckets()},
        {"liquidations": one_liquidation(side=[])},
        {"liquidations": one_liquidation(price=[])},
        {"liquidations": one_liquidation(side=[common_pb2.SIDE_UNSPECIFIED])},
        {"liquidations": one_liquidation(side=[9])},
        {"liquidations": None, "buckets": liquidation_pb2.LiquidationBuckets(ts=[1])},
    ],
    ids=["neither", "both", "no sides", "no prices", "side not given", "side not known", "no columns"],
)
def test_liquidations_that_make_no_sense_raise(ask: Ask, server: Standin, changes: dict[str, object]) -> None:
    server.answer = liquidations_message(**changes)
    with pytest.raises(liqclient.InvalidAnswer):
        ask(server.target, "liquidations", "BTCUSDT")


def test_liquidation_pages_that_go_in_circles_raise(ask: Ask, server: Standin) -> None:
    server.answer = liquidations_message()
    with pytest.raises(liqclient.InvalidAnswer, match="next page"):
        ask(server.target, "liquidation_pages", "BTCUSDT")
    assert len(server.requests) == 2


def test_audit_every_field_is_decoded(ask: Ask, server: Standin) -> None:
    server.answer = audit_message()
    audit = ask(server.target, "audit", "BTCUSDT", interval="1m")
    assert audit.open_time.dtype == np.int64
    assert audit.open_time.tolist() == [END - 2 * MINUTE, END - MINUTE]
    for i, name in enumerate(AUDIT_COLUMNS):
        column = getattr(audit, name)
        assert column.tolist() == [i, i + 0.5], name
        assert not column.flags.writeable
    assert (audit.interval, audit.unit, audit.provenance.as_of) == (MINUTE, "qty", END)
    assert repr(audit) == (
        "<Audit BTCUSDT.BINANCE position_book up to 2025-10-10T08:53:20+00:00: 2 intervals of 60 s, qty>"
    )
    read = json.loads(json.dumps(audit.to_dict(), allow_nan=False))
    assert list(read) == list(liqclient.Audit.__dataclass_fields__)
    assert read["closed_long"] == [2, 2.5]


@pytest.mark.parametrize("field", [*AUDIT_COLUMNS, "interval", "unit", "provenance"])
def test_audit_part_is_missing_raises_and_names_it(ask: Ask, server: Standin, field: str) -> None:
    message = audit_message()
    message.ClearField(field)  # type: ignore[arg-type]
    server.answer = message
    with pytest.raises(liqclient.InvalidAnswer, match=field):
        ask(server.target, "audit", "BTCUSDT", interval="1m")


def test_replay_moment_without_levels_raises(ask: Ask, server: Standin) -> None:
    server.answer = liquidation_pb2.ReplayLevelsResponse()
    with pytest.raises(liqclient.InvalidAnswer, match="levels"):
        ask(server.target, "replay", "BTCUSDT", every="1h")


def test_replay_moment_is_decoded_as_levels_are(ask: Ask, server: Standin) -> None:
    server.answer = liquidation_pb2.ReplayLevelsResponse(levels=levels_message())
    (replayed,) = ask(server.target, "replay", "BTCUSDT", every="1h")
    server.answer = levels_message()
    assert replayed.to_dict() == ask(server.target, "levels", "BTCUSDT").to_dict()


@pytest.mark.parametrize(
    "answer",
    [heatmap_message(), compare_message(), liquidations_message(), audit_message()],
    ids=lambda a: type(a).__name__,
)
def test_answers_go_through_pickle(ask: Ask, server: Standin, answer: object) -> None:
    server.answer = answer  # type: ignore[assignment]
    method, arguments = {
        liquidation_pb2.GetHeatmapResponse: ("heatmap", {}),
        liquidation_pb2.CompareModelsResponse: ("compare", {}),
        liquidation_pb2.ListLiquidationsResponse: ("liquidations", {}),
        liquidation_pb2.GetAuditResponse: ("audit", {"interval": "1m"}),
    }[type(answer)]
    decoded = ask(server.target, method, "BTCUSDT", **arguments)
    assert pickle.loads(pickle.dumps(decoded)).to_dict() == decoded.to_dict()
