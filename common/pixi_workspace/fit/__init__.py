"""Does a lock satisfy its manifest? The rules of `pixi lock --check`, in words.

lockcheck.py gives the verdict; satisfy.py goes through environments and platforms; satisfy_environment.py compares
channels, options and solve groups, satisfy_platform.py conda packages, satisfy_pypi.py PyPI packages. Packages whose
sources are in the workspace: satisfy_source.py with build_backend.py (conda), local_project.py with
requirement_text.py and markers.py (PyPI). suspicions.py finds what Pixi lets pass, newer_pixi.py asks a newer Pixi.
"""
