import json
import subprocess
import sys
from types import ModuleType

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
    # Modules such as liqclient.plot are there once something has imported them.
    values = vars(liqclient).items()
    public = {name for name, value in values if not name.startswith("_") and not isinstance(value, ModuleType)}
    assert public == set(liqclient.__all__)


def test_every_public_class_is_documented() -> None:
    for name in liqclient.__all__:
        value = getattr(liqclient, name)
        if isinstance(value, type):
            assert value.__doc__, name
