"""Tests without processes: each module alone."""
