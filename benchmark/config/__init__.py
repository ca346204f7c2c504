"""What a user declares: suite files, entries, the protocol, training options and table layouts."""
