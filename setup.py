"""Ends what another Python than mien's begins, with one line; all else is in pyproject.toml."""

import sys

from setuptools import setup

LEAST, BEYOND = (3, 12), (3, 15)

if not LEAST <= sys.version_info[:2] < BEYOND:
    sys.exit(
        f"mien: this is Python {sys.version_info[0]}.{sys.version_info[1]}, and mien needs "
        "CPython 3.12 to 3.14; get one by 'uv python install 3.13' or from https://www.python.org/downloads, "
        "then run 'python3.13 -m pip install .'"
    )

setup()
