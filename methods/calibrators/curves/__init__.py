"""Calibrators by curves of the probabilities.

Bins, isotonic regression or parametric curves from probability to probability, fitted for each class against the rest
or one for all classes. Take one where the error is not a matter of scale and there are calibration samples of each
class. Those fitted per class lose accuracy with many classes: then take the top-label form.
"""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
