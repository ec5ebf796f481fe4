"""Test the formula for CLs with numbers that you can work out by hand."""

import numpy as np
import pytest
from exclusion import cls_of


def test_a_search_that_sees_nothing_excludes_nothing():
    # Without sensitivity, both hypotheses predict the same data, and both p-values are 1/2.
    assert cls_of(np.array([0.5]), np.array([0.5])) == pytest.approx(1.0)


def test_cls_is_larger_than_the_first_p_value():
    # 0.03 alone would exclude the signal. But 70 % of data without a signal look at least as signal-like: 0.03 / 0.3.
    assert cls_of(np.array([0.03]), np.array([0.7])) == pytest.approx(0.1)


def test_a_counting_experiment():
    # 3 events expected from the signal, none from background, none observed: p_signal = exp(-3) and p_background = 0.
    assert cls_of(np.array([np.exp(-3.0)]), np.array([0.0])) == pytest.approx(0.0498, abs=1e-4)
