"""Cgroups of version 2: finding, making, limiting and killing them, and sweeping up after dead owners."""
