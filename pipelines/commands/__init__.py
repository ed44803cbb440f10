"""One module for each command of `python -m pipelines`: parsing and printing only."""
