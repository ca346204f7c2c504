"""calbench inside other packages, each optional: scikit-learn scorers, torchmetrics metrics, a Lightning callback."""
