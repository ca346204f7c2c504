"""Calibrators of the top-label confidence.

Fitted on whether the prediction is correct. Take one where there are many classes and only the confidence matters: all
calibration samples count for one binary problem.
"""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
