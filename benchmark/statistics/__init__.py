"""Statistics of metrics: intervals, noise floors, comparisons and aggregates over cells."""
