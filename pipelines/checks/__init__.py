"""Checks of corpora before a training, and of predictions before they are scored."""
