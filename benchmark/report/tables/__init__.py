"""Tables as values, independent of any output format."""
