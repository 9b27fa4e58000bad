"""A page that shows what a scheduler does, and the same as JSON; needs the extra ``web``."""

from ._server import WebServer

__all__ = ["WebServer"]

WebServer.__module__ = __name__


def __dir__() -> list[str]:
    return __all__
