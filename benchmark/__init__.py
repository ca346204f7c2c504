"""The engine: suites, plans, training, predictions, metrics, statistics and reports.

The package imports nothing on its own, so that its leaves (``registry``, ``errors``, ``metrics``) can be used by
``calbench.methods`` and ``calbench.datasets`` without a circle.
"""
