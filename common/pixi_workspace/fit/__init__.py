"""Does a lock satisfy its manifest? The rules of `pixi lock --check`, in words.

lockcheck.py gives the verdict; satisfy.py goes through environments and platforms; satisfy_environment.py compares
channels, options and solve groups, satisfy_platform.py conda packages, satisfy_pypi.py PyPI packages.
"""
