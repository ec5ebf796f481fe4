"""`workshop package`: what is in a conda package, from an archive, Pixi's package cache or the lock.

contents.py reads the archive or the unpacked folder; cache.py finds folders in Pixi's cache; command.py prints.
"""
