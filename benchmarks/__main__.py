"""Run benchmarks by name, or all: ``python -m benchmarks [NAME …]``; ``--help`` tells the names."""

import argparse
import importlib

from benchmarks import rows

ALL = (
    "calibrate",
    "dashboard",
    "ingest",
    "kernel",
    "levels",
    "live",
    "models",
    "nt",
    "scale",
    "serving_ingest",
    "streams",
)

parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run benchmarks by name, or all.")
parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}")
parser.add_argument("--rows", type=int, help="trades of scale; 10000000 unless given")
parser.add_argument("--minutes", type=float, help="live run of dashboard; 15 unless given")
asked = parser.parse_args()

for name in asked.names or ALL:
    if name not in ALL:
        parser.error(f"{name!r} is not a benchmark; there are {', '.join(ALL)}")
    print(f"-- {name}")
    sizes = {"rows": asked.rows} if name == "scale" and asked.rows else {}
    sizes |= {"minutes": asked.minutes} if name == "dashboard" and asked.minutes else {}
    measured = importlib.import_module(f"benchmarks.bench_{name}").run(**sizes)
    rows.write(measured)
    rows.show(measured)
print(f"written to {rows.BENCH_FILE}")
