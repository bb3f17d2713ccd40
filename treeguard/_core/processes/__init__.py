"""The processes of this system: looking at them, and signalling exactly those that were seen."""
