"""Scores of predictions against gold, for every task. Imports neither torch nor transformers."""
