"""Predictions: the data classes, readers of prediction files, and the export of fitted calibrators."""
