"""The command line as a user runs it, in this process: a new one for each test takes longer than most tests."""

from __future__ import annotations

import csv
import io
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from liqserver.cli import main


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """The errors as one line, without the frame around them."""
        return re.sub(r"\s+", " ", re.sub("[│╭╮╰╯─]", " ", self.stderr))

    def rows(self) -> list[dict[str, str]]:
        """Return the rows of CSV."""
        return list(csv.DictReader(io.StringIO(self.stdout)))

    def columns(self) -> list[str]:
        """Return the columns of CSV."""
        return self.stdout.partition("\n")[0].split(",")


def run(*arguments: object, code: int = 0) -> Done:
    """Run a command, which has to end with ``code``."""
    out, err = io.StringIO(), io.StringIO()
    ended: object = 0
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["liqserver", *map(str, arguments)]):
        try:
            main()
        except SystemExit as end:
            ended = end.code or 0
    assert ended == code, out.getvalue() + err.getvalue()
    assert "Traceback" not in err.getvalue()
    return Done(out.getvalue(), err.getvalue())
