"""Starts trees, ends them and reports on them. Not public, and independent of connections and the command line."""
