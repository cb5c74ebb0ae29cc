"""What a GPU does here: `python benchmarks/gpu`; see `__main__.py`."""
