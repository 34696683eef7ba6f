"""Fields of each family of experiments, one table per file."""
