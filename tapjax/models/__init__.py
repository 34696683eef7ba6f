"""Models of the zoo; no other folder imports flax."""
