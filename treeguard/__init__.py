"""Process trees, owned: whatever you start you can stop, all of it, and none of it outlives you."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .public import *  # noqa: F403
    from .public import __all__ as __all__
else:
    # A child that imports treeguard.child needs neither manager nor compiled module, which take much longer to import
    # than what it does need. So the names are imported when the first one is asked for, and modules likewise.
    def __getattr__(name: str) -> object:
        if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
            return import_module(f"{__name__}.{name}")
        if name == "__all__" or not name.startswith("_"):
            public = import_module(f"{__name__}.public")
            globals().update({each: getattr(public, each) for each in public.__all__}, __all__=public.__all__)
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
