"""From a dataset to batches: splits, input configuration, transforms, in-memory and streamed batches."""
