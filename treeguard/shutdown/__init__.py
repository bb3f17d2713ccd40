"""Shutdowns: the ladder as a state machine without processes, and what drives it."""
