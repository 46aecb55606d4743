"""The room that calls `fit`: each module but the plain ones here is one experiment, told as a page.

`python -m kerastransfer.recipes` lists them; `python -m kerastransfer.recipes.NAME --help` tells their flags.
"""
