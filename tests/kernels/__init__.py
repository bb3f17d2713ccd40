"""The system suite on real kernels: Debian's, booted under qemu. See docs/testing.md.

Nothing of it is a test by itself but its controls (``test_*.py``): ``python -m tests.kernels`` runs it.
"""
