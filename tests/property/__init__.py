"""Tests over generated cases: each against a model that is simpler than the code."""
