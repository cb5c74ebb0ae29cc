"""Studies of training on small made-up tasks."""
