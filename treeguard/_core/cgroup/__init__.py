"""Cgroups of version 2: found, made, limited, killed, and swept up after dead owners."""
