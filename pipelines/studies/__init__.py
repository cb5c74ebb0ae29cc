"""Studies: training on small made-up tasks, and ablations of the recipes."""
