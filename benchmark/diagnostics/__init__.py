"""Diagnostics of attention: how the attention of trained transformers relates to their confidence."""
