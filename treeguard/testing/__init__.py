"""Testing code that starts processes, without processes: scripted children, a virtual clock, and recorded calls.

:class:`ScriptedManager` takes the place of :class:`~treeguard.LocalProcessManager`, and :func:`scripted` that of the
managers behind :func:`treeguard.run`, :func:`treeguard.arun` and the like. :func:`virtual_time` lets timeouts and
delays pass in no time. See docs/testing-your-code.md.
"""

from .calls import Call, KillCall, SignalCall, SpawnCall
from .clock import NothingScheduled, VirtualClock, virtual_time
from .manager import ScriptedManager
from .scripts import (
    NO_PROCESSES,
    NOT_EXECUTABLE,
    NOT_FOUND,
    Answer,
    Command,
    Descendant,
    Output,
    Script,
    Scripts,
    UnscriptedCommand,
)
from .substitution import scripted

__all__ = [
    "NOT_EXECUTABLE",
    "NOT_FOUND",
    "NO_PROCESSES",
    "Answer",
    "Call",
    "Command",
    "Descendant",
    "KillCall",
    "NothingScheduled",
    "Output",
    "Script",
    "ScriptedManager",
    "Scripts",
    "SignalCall",
    "SpawnCall",
    "UnscriptedCommand",
    "VirtualClock",
    "scripted",
    "virtual_time",
]
