"""A child in Python: three lines make it a good one, the rest is its work."""

from __future__ import annotations

import threading

from treeguard import CapabilityDenied
from treeguard.child import connect

stop = threading.Event()
with connect(on_shutdown=lambda reason: stop.set(), name="python") as control:
    control.call("log.line", [f"attached, storage.get gave {control.call('storage.get', {'key': 'motto'})!r}"])
    try:
        control.call("storage.delete", {"key": "motto"})
    except CapabilityDenied as denied:
        control.call("log.line", [f"denied: {denied.strerror}"])
    stop.wait()
