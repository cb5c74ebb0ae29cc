"""Offline bundles: a folder with all that a machine without a network needs to use the project.

It holds the project's wheel and those of its dependencies, with hashes, a trained run or a recipe,
the base model, and the script that installs it. Not to be confused with a course's package of runs
(`pipelines submit --bundle`), which holds predictions and cannot be installed.
"""
