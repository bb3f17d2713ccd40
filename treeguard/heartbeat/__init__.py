"""Kills the trees of children that are silent for too long."""

from .tracker import HeartbeatTracker

__all__ = ["HeartbeatTracker"]
