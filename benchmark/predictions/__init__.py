"""Predictions as values, the readers of prediction files, and the export of fitted calibrators."""
