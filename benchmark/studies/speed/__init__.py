"""Speed and memory of calbench compared with other libraries, measured on this machine.

    python -m calbench.benchmark.studies.speed [GROUP ...] [--quick]

A group of measurements is a module of this package with one function under ``@group``; every module is imported.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    if _module.name != "__main__":
        importlib.import_module(f"{__name__}.{_module.name}")
