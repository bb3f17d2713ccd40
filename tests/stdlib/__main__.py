"""Runs one of the interpreter's test suites: ``python -m tests.stdlib asyncio [-v] [NAME…]``.

It ends with 0 if all passed that are not left out, and also if this interpreter has no test package, which it says.
"""

from __future__ import annotations

import importlib
import sys

#: What each of the suites is adapted by.
SUITES = {"asyncio": "asyncio_subprocess", "subprocess": "subprocess"}

if len(sys.argv) < 2 or sys.argv[1] not in SUITES:
    sys.exit(f"usage: python -m tests.stdlib {{{','.join(SUITES)}}} [-v] [NAME...]")
sys.exit(importlib.import_module(f"{__package__}.{SUITES[sys.argv[1]]}").main(sys.argv[2:]))
