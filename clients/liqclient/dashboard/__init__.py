"""A page of figures in the browser, served on this machine from the answers of a liqserver (extra ``plot``)."""

from liqclient.dashboard._server import Dashboard

__all__ = ["Dashboard"]
