"""From fits to limits.

asymptotic_cls     CLs, observed and expected, from the test statistic q-tilde    (asymptotics.py)
upper_limits       the signal strengths at which CLs reaches a level              (upper_limits.py)
"""

from histfactory.limits.asymptotics import asymptotic_cls, q_tilde, tail_arguments
from histfactory.limits.upper_limits import Fits, upper_limits

__all__ = ["Fits", "asymptotic_cls", "q_tilde", "tail_arguments", "upper_limits"]
