"""Margin mathematics: brackets and liquidation prices. Pure: no I/O, no clock."""
