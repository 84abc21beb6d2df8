import json
import subprocess
import sys

import liqclient

HEAVY = {"duckdb", "numba", "plotly", "typer", "rich", "nautilus_trader", "pandas", "pyarrow"}


def test_import_is_light_and_knows_only_the_messages_of_the_server() -> None:
    code = "import json, sys, liqclient; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)
    assert HEAVY.isdisjoint(modules)
    ours = {name for name in modules if name.partition(".")[0] == "liqserver"}
    assert {name for name in ours if name != "liqserver" and not name.startswith("liqserver.v1")} == set()


def test_everything_public_is_exported() -> None:
    public = {name for name in vars(liqclient) if not name.startswith("_")}
    assert public == set(liqclient.__all__)


def test_every_public_class_is_documented() -> None:
    for name in liqclient.__all__:
        value = getattr(liqclient, name)
        if isinstance(value, type):
            assert value.__doc__, name
