"""The notifications of daemons in systemd's notification protocol."""

from .listener import NotifyStatus, OnHung

__all__ = ["NotifyStatus", "OnHung"]
