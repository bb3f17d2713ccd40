"""Compiling spawn parameters into the bytes that the C core takes."""
