"""Models: each turns market history into liquidation levels. Pure: no I/O, no clock."""
