"""Run benchmarks by name, or all: ``python -m benchmarks [ingest|kernel|levels|models …]``."""

import importlib
import sys

from benchmarks import rows

ALL = ("ingest", "kernel", "levels", "models")

for name in sys.argv[1:] or ALL:
    if name not in ALL:
        sys.exit(f"{name!r} is not a benchmark; there are {', '.join(ALL)}")
    print(f"-- {name}")
    measured = importlib.import_module(f"benchmarks.bench_{name}").run()
    rows.write(measured)
    rows.show(measured)
print(f"written to {rows.BENCH_FILE}")
