"""The interpreter's own test suites, with treeguard in the place of what they were written for."""
