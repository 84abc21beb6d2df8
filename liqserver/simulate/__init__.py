"""A simulated market of leveraged traders, written as archive files."""
