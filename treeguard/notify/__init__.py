"""What daemons tell by systemd's notification protocol."""
