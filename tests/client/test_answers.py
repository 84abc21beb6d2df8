"""What messages become."""

import csv
import datetime as dt
import io
import json
import pickle

import numpy as np
import pytest

import liqclient
from liqserver.v1 import common_pb2, liquidation_pb2, market_data_pb2

from .conftest import Ask
from .standin import END, START, Standin, levels_message, provenance


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
    assert list(read) == ["price", "long", "short", "tiers", "bin_size", "unit", "totals", "provenance"]
    assert read["price"] == levels.price.tolist()
    assert [tier["leverage"] for tier in read["tiers"]] == [3.0, 10.0, 25.0]
    assert read["tiers"][1]["long"] == levels.tiers[10].long.tolist()
    assert read["totals"]["long_in_range"] == levels.totals.long_in_range
    assert read["provenance"]["as_of"] == END
    assert read["provenance"]["watermarks"][0]["kind"] == "trades"
    assert read["provenance"]["parameters"]["tiers"] == [{"leverage": 10.0, "weight": 0.6, "hazard": 1.5}]
    assert read["provenance"]["parameters"]["no_level_weight"] is None


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
        )
    ]
