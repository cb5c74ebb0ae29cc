"""Checks of what goes in and what came out: corpora before a training, predictions before scoring."""
