import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import duckdb
import pytest

from liqserver.store.database import SCHEMA_VERSION, Database, StoreError


def test_creates_folder_and_schema(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "x.duckdb"
    with Database(path, clock=lambda: 42) as db:
        assert db.cursor().execute("FROM meta").fetchall() == [(SCHEMA_VERSION, 42)]
        assert db.cursor().execute("FROM flow").fetchall() == []
    with Database(path) as db:
        assert db.cursor().execute("FROM meta").fetchall() == [(SCHEMA_VERSION, 42)]


def test_settings_are_set(tmp_path: Path) -> None:
    with Database(tmp_path / "x.duckdb", memory_limit="300MB", threads=1, temp_directory=tmp_path / "spill") as db:
        settings = dict(db.cursor().execute("SELECT name, value FROM duckdb_settings()").fetchall())
    assert settings["threads"] == "1"
    assert settings["memory_limit"].startswith("286.")  # MiB
    assert settings["temp_directory"] == str(tmp_path / "spill")
    assert settings["autoinstall_known_extensions"] == "false"
    assert settings["autoload_known_extensions"] == "false"


def test_read_only_needs_the_file_and_leaves_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with pytest.raises(StoreError, match=r"there is no database at .*x\.duckdb"):
        Database(path, read_only=True)
    assert list(tmp_path.iterdir()) == []
    Database(path).close()
    with Database(path, read_only=True) as db:
        with pytest.raises(duckdb.Error, match="read-only"):
            db.cursor().execute("INSERT INTO meta VALUES (1, 1)")
        with pytest.raises(duckdb.PermissionException):
            db.cursor().execute(f"FROM read_csv('{tmp_path}/y.csv')")


def test_foreign_and_newer_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.duckdb"
    text.write_text("not a database " * 1000)
    with pytest.raises(StoreError, match="is not a DuckDB database"):
        Database(text)
    foreign = tmp_path / "foreign.duckdb"
    with duckdb.connect(foreign) as con:
        con.execute("CREATE TABLE meta (schema_version INTEGER)")
    with pytest.raises(StoreError, match="is not a liqserver database"):
        Database(foreign)
    newer = tmp_path / "newer.duckdb"
    with Database(newer) as db:
        db.cursor().execute("UPDATE meta SET schema_version = 99")
    with pytest.raises(StoreError, match=r"schema version 99, .* versions 1 to 3: it was written by newer"):
        Database(newer)
    with duckdb.connect(newer) as con:  # it was closed again
        con.execute("UPDATE meta SET schema_version = ?", [SCHEMA_VERSION])
    Database(newer).close()


def test_a_file_held_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    code = (
        "import sys; from pathlib import Path; from liqserver.store.database import Database\n"
        "db = Database(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        for read_only in (False, True):
            with pytest.raises(StoreError, match=r"x\.duckdb is in use by another process.*--target"):
                Database(path, read_only=read_only)
        holder.communicate("")
    Database(path).close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        Database(tmp_path / "file" / "x.duckdb")


def test_each_cursor_has_rows_of_its_own(tmp_path: Path) -> None:
    with Database(tmp_path / "x.duckdb") as db:
        wrong: list[tuple[int, int]] = []

        def ask(n: int) -> None:
            cur = db.cursor()
            answers = [cur.execute("SELECT ?::BIGINT, ?::BIGINT", [n, i]).fetchall() for i in range(200)]
            wrong.extend((n, i) for i, answer in enumerate(answers) if answer != [(n, i)])

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_transaction_is_whole_or_nothing(tmp_path: Path) -> None:
    with Database(tmp_path / "x.duckdb") as db:
        with pytest.raises(KeyboardInterrupt), db.transaction() as cur:  # noqa: PT012
            cur.execute("DELETE FROM meta")
            raise KeyboardInterrupt
        assert db.cursor().execute("SELECT count(*) FROM meta").fetchall() == [(1,)]
        with db.transaction() as cur:
            cur.execute("INSERT INTO meta VALUES (7, 7)")
        assert db.cursor().execute("SELECT count(*) FROM meta").fetchall() == [(2,)]


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    with Database(tmp_path / "x.duckdb") as db:

        def add() -> None:
            for _ in range(20):
                with db.transaction() as cur:
                    cur.execute("UPDATE meta SET created_at = created_at + 1")

        with db.transaction() as cur:
            cur.execute("UPDATE meta SET created_at = 0")
        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert db.cursor().execute("SELECT created_at FROM meta").fetchall() == [(80,)]


def test_schema_is_shipped_in_the_wheel(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys; from hatchling.builders.wheel import WheelBuilder\n"
        "print(next(WheelBuilder(sys.argv[1]).build(directory=sys.argv[2], versions=['standard'])))"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, str(root), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    ).stdout.split()
    with zipfile.ZipFile(made[-1]) as wheel:
        names = {f"liqserver/store/{name}.sql" for name in ("schema", "migrations/to_2", "migrations/to_3")}
        assert names <= set(wheel.namelist())


SCHEMAS = Path(__file__).parent / "schemas"


def tables_of(path: Path) -> list[tuple[object, ...]]:
    with duckdb.connect(path, read_only=True) as con:
        return con.execute(
            """
            SELECT table_name, column_name, data_type, is_nullable
            FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index
            """
        ).fetchall()


def database_of_version(path: Path, version: int) -> None:
    """A database as software of that version made it, with a row or two."""
    with duckdb.connect(path) as con:
        con.execute((SCHEMAS / f"{version}.sql").read_text())
        con.execute("INSERT INTO meta VALUES (?, 42)", [version])
        con.execute("INSERT INTO symbols VALUES (1, 'BINANCE', 'BTCUSDT', 0.1, 'built in', 5.0)")
        con.execute("INSERT INTO mark_price VALUES (1, 1, 60, 60, 60, 1, 2, 0.5, 1.5)")


def test_there_is_a_schema_of_every_earlier_version() -> None:
    assert sorted(p.stem for p in SCHEMAS.glob("*.sql")) == [str(v) for v in range(1, SCHEMA_VERSION)]


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_older_file_becomes_what_a_new_one_is(tmp_path: Path, version: int) -> None:
    old, new = tmp_path / "old.duckdb", tmp_path / "new.duckdb"
    database_of_version(old, version)
    with pytest.raises(StoreError, match=rf"schema version {version} and is open for reading only.*liqserver serve"):
        Database(old, read_only=True)
    Database(new).close()
    with Database(old) as db:
        assert db.cursor().execute("FROM meta").fetchall() == [(SCHEMA_VERSION, 42)]
        assert db.cursor().execute("SELECT symbol, base_bin FROM symbols").fetchall() == [("BTCUSDT", 5.0)]
        assert db.cursor().execute("SELECT close FROM mark_price").fetchall() == [(1.5,)]
    assert tables_of(old) == tables_of(new)
    Database(old, read_only=True).close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    database_of_version(path, 1)
    with duckdb.connect(path) as con:
        # In the way of the last table that version 2 makes.
        con.execute("CREATE TABLE book_depth (x INTEGER)")
    before = tables_of(path)
    with pytest.raises(duckdb.CatalogException):
        Database(path)
    assert tables_of(path) == before
    with duckdb.connect(path, read_only=True) as con:
        assert con.execute("SELECT schema_version FROM meta").fetchall() == [(1,)]


@pytest.mark.parametrize("limit", ["", "much", "0GB", "-1GB", "10XB", "0%", "2 GB; x"])
def test_a_memory_limit_that_is_none(tmp_path: Path, limit: str) -> None:
    with pytest.raises(StoreError, match=r"memory_limit was .* must be a size or a share, such as 2GB or 25%"):
        Database(tmp_path / "x.duckdb", memory_limit=limit)
    assert not (tmp_path / "x.duckdb").exists()


def test_a_memory_limit_that_is_a_share_of_the_machine(tmp_path: Path) -> None:
    def limit(of: Database) -> object:
        return of.cursor().execute("SELECT current_setting('memory_limit')").fetchall()

    with Database(tmp_path / "x.duckdb") as db:
        default = limit(db)
    with Database(tmp_path / "x.duckdb", memory_limit="25%") as db:
        assert limit(db) == default
    with Database(tmp_path / "x.duckdb", memory_limit="50 %") as db:
        assert limit(db) != default


def test_pages_are_given_back_and_the_limit_stays(tmp_path: Path) -> None:
    def pages(of: Database) -> int:
        rows = of.cursor().execute("SELECT memory_usage_bytes FROM duckdb_memory() WHERE tag = 'BASE_TABLE'").fetchall()
        return int(rows[0][0])

    for keep_pages in (True, False):
        path = tmp_path / f"{keep_pages}.duckdb"
        with Database(path, memory_limit="300MB", keep_pages=keep_pages) as db:
            cur = db.cursor()
            cur.execute("CREATE TABLE t AS SELECT hash(i) AS x FROM range(2_000_000) AS r(i)")
            cur.execute("CHECKPOINT")
            [before] = cur.execute("SELECT bit_xor(x), count(*) FROM t").fetchall()
            assert pages(db) > 12_000_000
            db.release_pages()
            assert (pages(db) > 12_000_000) is keep_pages
            assert pages(db) < 4_000_000 or keep_pages
            assert cur.execute("SELECT current_setting('memory_limit')").fetchall() == [("286.1 MiB",)]
            assert cur.execute("SELECT bit_xor(x), count(*) FROM t").fetchall() == [before]
