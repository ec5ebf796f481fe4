"""The folder of a run and the files that describe it.

record.py        `<run>.partial/` until it is complete; run.json (run.schema.json)
provenance.py    the origin of a result: script, commit, manifest, installed packages, machine
crate.py         the same information as an RO-Crate, for archives
parent.py        a finished run that another run continues, after its files were checked
prediction.py    the logits of a network on the test images, and their comparison with another prediction
"""
