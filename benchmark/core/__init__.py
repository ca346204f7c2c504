"""Shared foundations that import nothing else of calbench: errors, registry, table columns, environment, hashing."""
