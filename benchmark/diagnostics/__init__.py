"""What the attention of trained cells says about their confidence: scores, significance, relations, figures, a page."""
