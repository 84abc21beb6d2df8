"""Benchmarks: ``python -m benchmarks`` runs all and writes build/bench.json; every ratio is of one run."""
