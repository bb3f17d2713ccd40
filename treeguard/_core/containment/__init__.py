"""How trees are contained: what each mechanism promises, how it is tried, started with, and cleaned up after."""
