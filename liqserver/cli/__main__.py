"""``python -m liqserver.cli`` is the command ``liqserver``."""

from liqserver.cli import main

main()
