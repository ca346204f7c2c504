"""Running a suite: plan, workers (local processes or Dask), cost estimates, collection of the results."""
