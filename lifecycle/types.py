"""Types that annotations need: what calls return and nobody makes by hand, and the records of `statistics()`."""

from ._face import face

__getattr__, __dir__, __all__ = face(__name__)
