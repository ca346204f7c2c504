"""Augmentations.

Take one where you train the network and overfitting is what makes it overconfident. They often improve accuracy too,
and can make a network underconfident, which temperature scaling corrects.
"""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
