"""calbench: compare probability-calibration methods for image classifiers under one protocol."""
