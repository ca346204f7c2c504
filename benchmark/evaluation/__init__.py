"""From predictions to numbers: fit calibrators, compute metrics and intervals."""
