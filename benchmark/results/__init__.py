"""Results as values: tidy tables, the record of a run, published reference numbers."""
