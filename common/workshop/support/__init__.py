"""Small modules that several packages use.

files.py      files read within limits, written atomically; sha256
timeouts.py   other programs and servers, with a time limit; ending process groups
hardware.py   this machine: system, processor, GPUs
report.py     output for people: wrapped, in colour on a terminal
text.py       similar words, version numbers
rules.py      rules for container files and job files: a table and one loop
"""
