"""A page that shows what a scheduler does, and the same as JSON; needs the extra ``web``."""

from ._server import WebServer, WebStatistics

__all__ = ["WebServer", "WebStatistics"]

for _public in (WebServer, WebStatistics):
    _public.__module__ = __name__


def __dir__() -> list[str]:
    return __all__
