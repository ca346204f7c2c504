"""Data only: published reference numbers, and the tables and figures of real runs."""
