"""What daemons tell by systemd's notification protocol."""

from .listener import NotifyStatus, OnHung

__all__ = ["NotifyStatus", "OnHung"]
