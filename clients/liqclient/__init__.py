"""Light client of liqserver: numpy columns in, its own exceptions out."""
