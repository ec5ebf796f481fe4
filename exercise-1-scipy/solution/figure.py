"""Draw the exclusion contour of limits.json: python figure.py

Reads limits.json, which `python exclusion.py --limits limits.json` writes. Writes contour.png, and contour.svg for a
publication.
"""

from workshop.errors import errors_as_messages
from workshop.runs import search

TITLE = "Masses excluded at 95 % CL"

if __name__ == "__main__":
    with errors_as_messages():
        print(search.draw_limits("limits.json", "contour.png", TITLE))
