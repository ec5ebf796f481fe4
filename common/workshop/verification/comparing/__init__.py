"""Two runs held side by side.

comparison.py  outputs, metrics, and everything that may explain why they differ; row.py is one line of it
contents.py    the numbers inside outputs: CLs and logits
causes.py      what a difference was measured to do to the results
drawing.py     the figures of two runs in one picture
"""
