"""Small modules that several packages use.

files.py      written whole or not at all; sha256
timeouts.py   other programs and far machines, asked with a deadline; process groups ended
hardware.py   what this machine is, without a name of its owner
report.py     lines for people: wrapped, in colour on a terminal
text.py       the nearest word, versions compared
rules.py      rules for container files and job files: a table and one loop
"""
