"""Calibrators by temperature.

Start here. One temperature, or one for each sample from its logits: few values to fit, so that a few hundred
calibration samples are enough. The order of the classes is kept, and with it the accuracy.
"""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
