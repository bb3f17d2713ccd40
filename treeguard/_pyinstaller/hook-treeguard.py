"""PyInstaller's hook: the guard is a program, and modules are imported when one of their names is asked for."""

import sys
from importlib.util import find_spec
from pathlib import Path

__all__ = ["binaries", "hiddenimports"]

_PACKAGE = Path(__file__).parents[1]
_GUARD = _PACKAGE / "treeguard-guard"
#: The command line starts an interpreter, which a bundle has none of.
_LEFT_OUT = ("cli", "_pyinstaller", "__main__")
_OF_WINDOWS = "_windows"


def _modules() -> list[str]:
    found = []
    for path in sorted(_PACKAGE.rglob("*.py")):
        parts = path.relative_to(_PACKAGE).with_suffix("").parts
        foreign = parts[-1].endswith(_OF_WINDOWS) and sys.platform != "win32"
        if parts[0] not in _LEFT_OUT and not foreign:
            found.append(".".join(["treeguard", *parts]).removesuffix(".__init__"))
    return found


# As a binary it stays executable; as data, which is how collecting everything takes it, it does not.
binaries = [(str(_GUARD), "treeguard")] if _GUARD.exists() else []
# The compiled module imports cffi's, which nobody can see from outside.
hiddenimports = [*_modules(), "treeguard._treeguard", *(["_cffi_backend"] if find_spec("_cffi_backend") else [])]
