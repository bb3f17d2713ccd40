"""Between the C core and the event loop: starting trees on the loop, and delivering their events on it."""
