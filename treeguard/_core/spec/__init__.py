"""From parameters to the bytes that the C core takes."""
