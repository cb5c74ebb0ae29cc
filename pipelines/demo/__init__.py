"""A page and an HTTP API for trained runs: mark a text, compare two models, answer a file."""
