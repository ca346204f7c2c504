"""From datasets to batches: splits, input configuration, transforms, in-memory and streamed batches."""
