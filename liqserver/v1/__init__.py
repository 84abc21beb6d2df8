"""Generated messages and stubs of the package ``liqserver.v1``; regenerate with ``make proto``."""
