"""`workshop audit`: on which machines is a Pixi workspace reproducible, and if not, why and what to type?

report.py puts the parts together and prints them; findings.py lists the rules; locks.py and builds.py ask
`pixi_workspace` about the lock and about the locked builds; images.py asks `workshop.containers` about the container
files; places.py finds the line of a finding; sarif.py writes the format that code hosts read.
"""
