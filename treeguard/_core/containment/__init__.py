"""How trees are contained: what each mechanism guarantees, and how it is tried, used and cleaned up after."""
