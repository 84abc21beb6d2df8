"""Margin mathematics: brackets and liquidation prices. Pure: no I/O, no clock."""

from liqserver.margin.brackets import BracketError, BracketHistory, BracketTable, Tier
from liqserver.margin.builtin import builtin_tables
from liqserver.margin.formulas import (
    SIMPLIFIED_MMR,
    Side,
    bankruptcy_price,
    check_leverage,
    isolated_liquidation_price,
    liquidation_price,
    liquidation_ratio,
    simplified_liquidation_price,
    simplified_ratio,
)

__all__ = [
    "SIMPLIFIED_MMR",
    "BracketError",
    "BracketHistory",
    "BracketTable",
    "Side",
    "Tier",
    "bankruptcy_price",
    "builtin_tables",
    "check_leverage",
    "isolated_liquidation_price",
    "liquidation_price",
    "liquidation_ratio",
    "simplified_liquidation_price",
    "simplified_ratio",
]
