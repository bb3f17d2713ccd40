"""The examples as they are written with asyncio.subprocess. tests/system/test_examples.py compares them."""
