"""The suites that come with calbench, a YAML file each."""
