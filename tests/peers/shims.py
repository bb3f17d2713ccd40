"""Programs with the names of others, which are ``treeguard run``."""

from __future__ import annotations

import sys
from pathlib import Path

from .translate import TRANSLATIONS

__all__ = ["write_shims"]

_CHECKOUT = Path(__file__).parents[2]
_SHIM = """\
#!{python}
import sys
sys.path.insert(0, {checkout!r})
from tests.peers.translate import TRANSLATIONS
from treeguard._cli import main
sys.argv[1:] = ["run", *TRANSLATIONS[{name!r}](sys.argv[1:])]
sys.exit(main())
"""


def write_shims(directory: Path) -> None:
    """Writes one program for each of the others into an existing directory."""
    for name in TRANSLATIONS:
        shim = directory / name
        shim.write_text(_SHIM.format(python=sys.executable, checkout=str(_CHECKOUT), name=name))
        shim.chmod(0o755)
