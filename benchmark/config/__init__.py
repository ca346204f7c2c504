"""User configuration: suite files, entries, the protocol, training options and table layouts."""
