"""Changes every image and label of the test set, but not the training set.

A script that learns only from the training set ends with the same weights as without this patch.
"""

import dataclasses

from workshop.runs import data


def install() -> None:
    """Change the test set that `workshop.runs.data.load` returns."""
    load = data.load

    def load_with_other_test_set(*arguments, **named):
        dataset = load(*arguments, **named)
        x_test, y_test = dataset.x_test[::-1].copy() // 2, (dataset.y_test + 1) % 10
        return dataclasses.replace(dataset, x_test=x_test, y_test=y_test)

    data.load = load_with_other_test_set
