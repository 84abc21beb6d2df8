"""Options that several commands have: one wording, one way to read and to complete each."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

import liqclient
from liqclient._times import to_duration_nanoseconds, to_nanoseconds
from liqserver.config import DEFAULT_TARGET

WHAT_PANEL, MODEL_PANEL, OUTPUT_PANEL = "What to show", "Parameters of the model", "Output"
_WHERE_PANEL = "Where to ask"
HOUR = 3_600_000_000_000
# A completion must not keep the one who types waiting.
_COMPLETION_TIMEOUT = 1.0
_MS = 1_000_000


class Format(StrEnum):
    """What to print."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class SideChoice(StrEnum):
    """Sides to answer."""

    BOTH = "both"
    LONG = "long"
    SHORT = "short"


class UnitChoice(StrEnum):
    """Units of amounts."""

    NOTIONAL = "notional"
    QTY = "qty"


class FormulaChoice(StrEnum):
    """Margin formulas."""

    EXACT = "exact"
    SIMPLIFIED = "simplified"


class CompatChoice(StrEnum):
    """Whose computation."""

    NONE = "none"
    ORIGINAL = "original"


class Around(NamedTuple):
    """A price range around the current price, as fractions of it."""

    down: float
    up: float


DEFAULT_RANGE = Around(0.2, 0.2)

# --- reading ---------------------------------------------------------------------------------------------------


def read_moment(text: str) -> int:
    """Return a moment as UNIX nanoseconds: ISO 8601 with zone, or UNIX nanoseconds or milliseconds.

    A number says by its digits which of the two it is: from 2001 to 2286 there are 19 of nanoseconds and 13 of
    milliseconds.

    Raises
    ------
    typer.BadParameter
        If it is none of them.
    """
    if text.isdecimal():
        if len(text) not in (13, 19):
            raise typer.BadParameter(f"was {text}, must be 13 digits (UNIX milliseconds) or 19 digits (nanoseconds)")
        number = int(text) * (_MS if len(text) == 13 else 1)
        return _read(to_nanoseconds, number)
    return _read(to_nanoseconds, text)


def read_duration(text: str | int) -> int:
    """Return a length of time such as 5m, 4h, 30d as nanoseconds, a default as it is; raises ``typer.BadParameter``."""
    length = _read(lambda of: to_duration_nanoseconds(of, "length"), text)
    if length == 0:
        raise typer.BadParameter(f"was {text!r}, must be longer than 0")
    return length


def read_range(text: str | Around) -> Around:
    """Return one fraction of the current price for both ways, or two: down, up; raises ``typer.BadParameter``."""
    if isinstance(text, Around):
        return text
    numbers = _numbers(text, ",", "a number or two, such as 0.1 or 0.05,0.2", (1, 2))
    return Around(numbers[0], numbers[-1])


def read_tier(text: str) -> liqclient.LeverageTier:
    """Return a tier of leverage:weight or leverage:weight:hazard; raises ``typer.BadParameter``."""
    leverage, weight, *hazard = _numbers(text, ":", "leverage:weight or leverage:weight:hazard", (2, 3))
    return _read(lambda of: liqclient.LeverageTier(*of), (leverage, weight, *hazard))


def read_bin_size(text: str) -> float:
    """Return a width in quote units; raises ``typer.BadParameter``."""
    [width] = _numbers(text, None, "a number above 0", (1,))
    if not width > 0:
        raise typer.BadParameter(f"was {text!r}, must be a number above 0")
    return width


def _numbers(text: str, separator: str | None, allowed: str, counts: tuple[int, ...]) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(separator)]
    except ValueError:
        numbers = []
    if len(numbers) not in counts:
        raise typer.BadParameter(f"was {text!r}, must be {allowed}")
    return numbers


def _read[Given, Read](reader: Callable[[Given], Read], value: Given) -> Read:
    try:
        return reader(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


# --- completing ------------------------------------------------------------------------------------------------


def complete_model(incomplete: str) -> list[str]:
    """Return the models whose names begin like this."""
    from liqserver.models.registry import MODELS

    return [name for name in MODELS if name.startswith(incomplete)]


def complete_symbol(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the symbols that begin like this, of the server or database named so far on the command line."""
    from liqserver.store.database import StoreError

    try:
        symbols = _known_symbols(ctx.params.get("target"), ctx.params.get("db"))
    except (liqclient.LiqClientError, StoreError, typer.BadParameter):
        # Nothing to offer, and in the middle of a line nobody to tell.
        return []
    return sorted(symbol for symbol in symbols if symbol.startswith(incomplete))


def _known_symbols(target: str | None, db: Path | None) -> set[str]:
    if db is None:
        with client_of(target, timeout=_COMPLETION_TIMEOUT) as client:
            return {of.symbol for of in client.symbols()}
    from liqserver.store.coverage import symbols
    from liqserver.store.database import Database

    with Database(db, read_only=True) as database:
        return {of.symbol for of in symbols(database.cursor())}


# --- options ---------------------------------------------------------------------------------------------------

MOMENT = "ISO 8601 with zone, 2025-09-02T12:00Z, or UNIX ms or ns"


def moment(text: str, *names: str) -> Any:  # noqa: ANN401 - what typer returns for an option
    """Return an option that takes a moment, of its parameter's name if it is given none."""
    return typer.Option(*names, parser=read_moment, metavar="TIME", help=text, rich_help_panel=WHAT_PANEL)


def length(text: str, default: str = "") -> Any:  # noqa: ANN401
    """Return an option that takes a length of time."""
    shown = f" \\[default: {default}]" if default else ""
    return typer.Option(
        parser=read_duration, metavar="LENGTH", help=text + shown, show_default=False, rich_help_panel=WHAT_PANEL
    )


SymbolArgument = Annotated[
    str, typer.Argument(help="Symbol, for example BTCUSDT.", autocompletion=complete_symbol, show_default=False)
]
VenueOption = Annotated[str, typer.Option(help="Venue, if several have the symbol.", rich_help_panel=WHAT_PANEL)]
AsOfOption = Annotated[int | None, moment(f"A moment: {MOMENT}. Newest data if not given.")]
StartOption = Annotated[int | None, moment(f"From this moment: {MOMENT}. The first there is if not given.")]
EndOption = Annotated[int | None, moment(f"To this moment: {MOMENT}. Newest data if not given.")]
BinSizeOption = Annotated[
    float | None,
    typer.Option(
        parser=read_bin_size,
        metavar="NUMBER",
        help="Width of a bin in quote units, a multiple of the base bin.",
        rich_help_panel=WHAT_PANEL,
    ),
]
RangeOption = Annotated[
    Around,
    typer.Option(
        "--range",
        parser=read_range,
        metavar="FRACTION",
        show_default=False,
        help="Around the current price, as fraction: 0.1, or down,up: 0.05,0.2. \\[default: 0.2]",
        rich_help_panel=WHAT_PANEL,
    ),
]
SideOption = Annotated[SideChoice, typer.Option(help="Which side of positions.", rich_help_panel=WHAT_PANEL)]
UnitOption = Annotated[UnitChoice, typer.Option(help="Quote units or contracts.", rich_help_panel=WHAT_PANEL)]
MinNotionalOption = Annotated[
    float, typer.Option(help="Leave out bins with less, quote units.", rich_help_panel=WHAT_PANEL)
]
ModelOption = Annotated[
    str,
    typer.Option(help="Model; see `liqserver models`.", autocompletion=complete_model, rich_help_panel=MODEL_PANEL),
]
CalibrationOption = Annotated[
    str,
    typer.Option(
        help="Id of a calibration (see `liqserver calibrations`), or none. \\[default: the newest that knew no more]",
        rich_help_panel=MODEL_PANEL,
    ),
]
RowsOption = Annotated[
    int,
    typer.Option(
        help="Table: about so many rows, unless a bin size is given.", min=2, max=500, rich_help_panel=OUTPUT_PANEL
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="What to print.", rich_help_panel=OUTPUT_PANEL)]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        "-t",
        help=f"Address of a running server. \\[default: {DEFAULT_TARGET}]",
        rich_help_panel=_WHERE_PANEL,
    ),
]
DbOption = Annotated[
    Path | None,
    typer.Option(
        "--db", help="Ask a server started in this process on this database instead.", rich_help_panel=_WHERE_PANEL
    ),
]
# Of commands that work on a database themselves.
DatabaseOption = Annotated[
    Path | None, typer.Option("--db", help="Database. \\[default: LIQSERVER_DB, else your data folder]")
]
DataVenueOption = Annotated[str, typer.Option(help="Venue the data are of.")]


# --- parameters of models --------------------------------------------------------------------------------------

# What models take that select entries anew at each moment; models with a time axis have no use for these.
OF_SELECTIONS = frozenset({"lookback", "whale_threshold", "gross_value", "top_n", "portion", "funding_tilt"})


def _number(text: str, name: str = "") -> Any:  # noqa: ANN401 - what typer returns for an option
    return typer.Option(*([name] if name else []), help=text, metavar="NUMBER", rich_help_panel=MODEL_PANEL)


def _parameters(
    kappa: Annotated[float | None, _number("Share of volume that takes positions.")] = None,
    taker_tilt: Annotated[float | None, _number("Tilt of openings to the aggressor, -1 to 1.")] = None,
    trend_tilt: Annotated[float | None, _number("How much more of what opens against the trend has a level.")] = None,
    tier: Annotated[
        list[liqclient.LeverageTier] | None,
        typer.Option(
            parser=read_tier,
            metavar="TIER",
            help="A leverage tier, leverage:weight or leverage:weight:hazard; repeat for each.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    no_level_weight: Annotated[float | None, _number("Weight of positions without a level.")] = None,
    no_level_hazard: Annotated[float | None, _number("Their hazard of closing.")] = None,
    hazard_exponent: Annotated[float | None, _number("e of hazard = leverage^e.")] = None,
    margin_formula: Annotated[
        FormulaChoice | None, typer.Option(help="Exact margin, or LiquidationHeatmap's.", rich_help_panel=MODEL_PANEL)
    ] = None,
    funding_erosion: Annotated[float | None, _number("Share of funding paid from margin.")] = None,
    position_notional: Annotated[float | None, _number("Typical position, decides the bracket.")] = None,
    compat: Annotated[
        CompatChoice | None,
        typer.Option(help="Compute as the original did, faults included.", rich_help_panel=MODEL_PANEL),
    ] = None,
    lookback: Annotated[
        int | None,
        typer.Option(
            parser=read_duration,
            metavar="LENGTH",
            help="How far back entries count: 4h, 30d.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    whale_threshold: Annotated[float | None, _number("Smallest trade that counts, quote units.")] = None,
    gross_value: Annotated[float | None, _number("Select trades of at least this, quote units.")] = None,
    top_n: Annotated[int | None, _number("Select so many largest trades of a side.")] = None,
    portion: Annotated[float | None, _number("Select this largest fraction of a side's trades.")] = None,
    funding_tilt: Annotated[float | None, _number("How strongly funding tilts the leverage mix.")] = None,
) -> liqclient.Parameters:
    return liqclient.Parameters(
        kappa=kappa,
        taker_tilt=taker_tilt,
        trend_tilt=trend_tilt,
        tiers=tier or None,
        no_level_weight=no_level_weight,
        no_level_hazard=no_level_hazard,
        hazard_exponent=hazard_exponent,
        margin_formula=margin_formula.value if margin_formula else None,
        funding_erosion=funding_erosion,
        position_notional=position_notional,
        compat=compat.value if compat else None,
        lookback=lookback,
        whale_threshold=whale_threshold,
        gross_value=gross_value,
        top_n=top_n,
        portion=portion,
        funding_tilt=funding_tilt,
    )


class Preset(StrEnum):
    """Lookbacks of the earlier systems' pages."""

    ONE_DAY = "1d"
    SEVEN_DAYS = "7d"
    THIRTY_DAYS = "30d"
    NINETY_DAYS = "90d"


# Their bins, quote units; they were made for BTC. The day had none of its own.
_PRESET_BINS = {Preset.ONE_DAY: 200.0, Preset.SEVEN_DAYS: 200.0, Preset.THIRTY_DAYS: 500.0, Preset.NINETY_DAYS: 1_500.0}
PresetOption = Annotated[
    Preset | None,
    typer.Option(
        help="A lookback with its bins: 200 for 1d and 7d, 500 for 30d, 1500 for 90d (of models that look back).",
        rich_help_panel=WHAT_PANEL,
    ),
]


def preset_applied(
    preset: Preset, parameters: liqclient.Parameters, bin_size: float | None
) -> tuple[liqclient.Parameters, float]:
    """Return parameters with the lookback of ``preset``, and its bin size where none is given.

    Raises
    ------
    typer.BadParameter
        If the parameters have a lookback already.
    """
    if parameters.lookback is not None:
        raise typer.BadParameter("give --preset or --lookback, not both")
    return replace(parameters, lookback=read_duration(preset.value)), bin_size or _PRESET_BINS[preset]


def with_parameters(*, leave_out: Iterable[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command that takes ``parameters: liqclient.Parameters`` an option for each of them instead.

    Parameters
    ----------
    leave_out
        Parameters that no model which answers the command has a use for.
    """
    own = inspect.signature(_parameters, eval_str=True).parameters
    options = [of.replace(kind=of.KEYWORD_ONLY) for name, of in own.items() if name not in set(leave_out)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        taken: list[inspect.Parameter] = []
        for of in signature.parameters.values():
            taken += options if of.name == "parameters" else [of.replace(kind=of.KEYWORD_ONLY)]

        @functools.wraps(command)
        def run(**given: Any) -> None:  # noqa: ANN401 - whatever the options hold
            chosen = {of.name: given.pop(of.name) for of in options}
            command(**given, parameters=_parameters(**chosen))

        # Typer reads both: the one for order and defaults, the other for types.
        run.__signature__ = signature.replace(parameters=taken)  # type: ignore[attr-defined]
        run.__annotations__ = {of.name: of.annotation for of in taken} | {"return": None}
        return run

    return decorate


# --- asking ----------------------------------------------------------------------------------------------------


def client_of(target: str | None, *, timeout: float) -> liqclient.Client:
    """Return a client of ``target``, the default one if None, with token and TLS as the environment has them.

    ``LIQSERVER_TOKEN`` holds a token. ``LIQSERVER_TLS_CA`` names a PEM file of the authorities that the server's
    certificate may be signed by, and has the connection encrypted. Neither is an option: every user of a machine can
    read the command lines of all.

    Raises
    ------
    typer.BadParameter
        If the file cannot be read, or the token cannot be sent, or not there unencrypted.
    """
    tls, token = os.environ.get("LIQSERVER_TLS_CA"), os.environ.get("LIQSERVER_TOKEN")
    try:
        return liqclient.Client(target or DEFAULT_TARGET, timeout=timeout, tls=tls or False, token=token or None)
    except OSError as error:
        raise typer.BadParameter(f"LIQSERVER_TLS_CA: {tls} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise typer.BadParameter(f"LIQSERVER_TOKEN, LIQSERVER_TLS_CA: {error}") from error


@contextmanager
def connected(target: str | None, db: Path | None, *, writable: bool = False) -> Iterator[liqclient.Client]:
    """Yield a client of ``target``, or of a server on ``db`` that lives as long as the block.

    Parameters
    ----------
    target, db
        As the options; not both.
    writable
        Whether the server on ``db`` may change it.

    Raises
    ------
    typer.BadParameter
        If both are given.
    StoreError
        If the database cannot be opened.
    """
    if target is not None and db is not None:
        raise typer.BadParameter("give --target or --db, not both")
    if db is None:
        with client_of(target, timeout=60) as client:
            yield client
        return
    from liqserver.rpc.server import EmbeddedServer  # a client of a remote server need not load numba

    with EmbeddedServer(db, writable=writable) as server, liqclient.Client(server.target, timeout=60) as client:
        yield client
