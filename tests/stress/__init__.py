"""Many trees, short and long, while guards and supervisors are killed: see ``__main__``."""
