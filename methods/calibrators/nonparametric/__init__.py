"""Nonparametric calibrators of all probabilities.

Kernels and boosted trees, functions of all class probabilities together. They need many calibration samples and few
classes, and can change the predicted class.
"""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
