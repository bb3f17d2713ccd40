"""From the C core to the event loop: trees are started on it, and what becomes of them is told on it."""
