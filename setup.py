"""Adds the recipes and the sample data to the wheel, below pipelines/_project; see pyproject.toml.

They stay in recipes/ and data/ of a checkout, so that `accelerate launch recipes/NAME.py` works
there. In the wheel they keep their places relative to one another, by which a recipe finds them.
"""

from setuptools import find_packages, setup

PROJECT = {"pipelines._project.recipes": "recipes", "pipelines._project.data": "data"}

setup(
    packages=[*find_packages(include=["pipelines*"]), *PROJECT],
    package_dir=PROJECT,
    package_data={
        "pipelines": ["py.typed", "reporting/templates/*"],
        "pipelines._project.recipes": ["*/*.yaml", "cluster/*"],
        "pipelines._project.data": ["README.md", "samples/*/*"],
    },
)
