"""A perpetual contract as Nautilus has it, from what the server and the caller know of it."""

from __future__ import annotations

from decimal import Decimal

from nautilus_trader.model.identifiers import InstrumentId, Symbol
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Currency, Price, Quantity

_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD")
_ZERO = Decimal(0)


def perpetual(
    symbol: str,
    venue: str,
    *,
    tick_size: Decimal | float | str,
    step_size: Decimal | float | str,
    instrument_id: InstrumentId | str | None = None,
    base: str = "",
    quote: str = "",
    maker_fee: Decimal | float | str = _ZERO,
    taker_fee: Decimal | float | str = _ZERO,
    margin_init: Decimal | float | str = _ZERO,
    margin_maint: Decimal | float | str = _ZERO,
) -> CryptoPerpetual:
    """Return a linear perpetual contract for backtests, margined and settled in its quote currency.

    Nothing is looked up: fees and margins are 0 unless they are given, and there are no limits of size or price.

    Parameters
    ----------
    symbol, venue
        As the server has them, for example ``BTCUSDT`` and ``BINANCE``.
    tick_size
        Smallest step of price, quote units; `liqclient.SymbolInfo` tells it.
    step_size
        Smallest step of quantity, base units.
    instrument_id
        Identifier; None for ``<symbol>-PERP.<venue>``.
    base, quote
        Currencies; empty to take the symbol apart, which ends in a known quote currency.
    maker_fee, taker_fee
        As fractions of notional.
    margin_init, margin_maint
        As fractions of notional.

    Raises
    ------
    ValueError
        If the symbol cannot be taken apart, or a step is not positive.
    """
    if not quote:
        quote = next((of for of in _QUOTES if symbol.endswith(of) and symbol != of), "")
        if not quote:
            raise ValueError(f"symbol must end in one of {', '.join(_QUOTES)}, or quote be given; was {symbol!r}")
    tick, step = _step(tick_size, "tick_size"), _step(step_size, "step_size")
    known = f"{symbol}-PERP.{venue}" if instrument_id is None else str(instrument_id)
    quote_currency = Currency.from_str(quote)
    return CryptoPerpetual(
        instrument_id=InstrumentId.from_str(known),
        raw_symbol=Symbol(symbol),
        base_currency=Currency.from_str(base or symbol.removesuffix(quote)),
        quote_currency=quote_currency,
        settlement_currency=quote_currency,
        is_inverse=False,
        price_precision=_decimals(tick),
        price_increment=Price.from_str(f"{tick:f}"),
        size_precision=_decimals(step),
        size_increment=Quantity.from_str(f"{step:f}"),
        margin_init=Decimal(str(margin_init)),
        margin_maint=Decimal(str(margin_maint)),
        maker_fee=Decimal(str(maker_fee)),
        taker_fee=Decimal(str(taker_fee)),
        ts_event=0,
        ts_init=0,
    )


def _step(value: Decimal | float | str, name: str) -> Decimal:
    step = Decimal(str(value)).normalize()
    if not (step.is_finite() and step > 0):
        raise ValueError(f"{name} must be above 0, was {value}")
    return step


def _decimals(step: Decimal) -> int:
    return max(0, -int(step.as_tuple().exponent))
