"""Children that are silent for too long have their trees killed."""

from .tracker import HeartbeatTracker

__all__ = ["HeartbeatTracker"]
