"""The skill benchmark reads what the command line writes, and joins by time."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.skill import HOUR, joined, main, read_audit

COLUMNS = (
    "open_time,opened_long,opened_short,closed_long,closed_short,liquidated_long,liquidated_short,open_interest,"
    "no_level_share"
)


def test_reads_an_audit(tmp_path: Path) -> None:
    path = tmp_path / "audit.csv"
    path.write_text(f"{COLUMNS}\n3600000,1,2,3,4,5.5,6,7,0.5\n7200000,1,2,3,4,0,8,7,0.5\n")
    at, liquidated = read_audit(path)
    assert at.tolist() == [HOUR, 2 * HOUR]
    assert liquidated.tolist() == [[5.5, 0], [6, 8]]


def test_refuses_an_audit_that_is_not_hourly(tmp_path: Path) -> None:
    path = tmp_path / "audit.csv"
    path.write_text(f"{COLUMNS}\n0,1,2,3,4,5.5,6,7,0.5\n300000,1,2,3,4,0,8,7,0.5\n")
    with pytest.raises(SystemExit, match="every hour"):
        read_audit(path)


def test_hours_without_a_row_are_not_known() -> None:
    got = joined(np.array([0, 1, 2]) * HOUR, np.array([2, 0]) * HOUR, np.array([[5.0, 6.0]]))
    np.testing.assert_array_equal(got, [[6.0, np.nan, 5.0]])


def test_measures_an_audit_on_real_data(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An audit that knows the truth scores 1."""
    truth = (shared_data / "binance-btc-2025-12" / "liquidations_1h.csv").read_text().splitlines()[1:]
    known = {int(row.split(",")[0]): row.split(",")[1:] for row in truth}
    rows = [
        f"{at},0,0,0,0,{','.join(known.get(at, ['0', '0']))},1,0" for at in range(min(known), max(known) + 1, 3_600_000)
    ]
    path = tmp_path / "truth.csv"
    path.write_text("\n".join([COLUMNS, *rows]))
    main(["--data", str(shared_data / "binance-btc-2025-12"), "--audit", str(path)])
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("truth.csv                                   longs  1.000 [1.000, 1.000]")
    assert out[2].startswith("truth.csv                                   shorts 1.000 [1.000, 1.000]")
    assert "719 (30 d)" in out[1]
