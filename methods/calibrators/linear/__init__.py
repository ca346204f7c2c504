"""Calibrators by linear maps of the logits.

A weight or bias for each class, or a matrix. Take one where classes are calibrated differently and there are
calibration samples of each: about a hundred per class or more. They can change the predicted class, for better or
worse.
"""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
