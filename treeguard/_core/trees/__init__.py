"""The trees of a manager, each with its life: pending, started, ended, empty."""
