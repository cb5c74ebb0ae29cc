"""The commands, a module each with `HELP`, `add_arguments(parser)` and `run(options)`."""
