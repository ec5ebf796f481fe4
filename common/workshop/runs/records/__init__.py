"""A run's folder and what is written about it.

record.py        `<run>.partial/` until it is complete; run.json (run.schema.json)
provenance.py    where a result comes from: script, commit, manifest, installed packages, machine
crate.py         the same as an RO-Crate, for archives
parent.py        a finished run that another one continues, believed as far as its files agree with it
prediction.py    the logits of a network on the test images, and another prediction beside them
"""
