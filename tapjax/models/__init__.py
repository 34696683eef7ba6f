"""Models of the zoo; the only folder that imports flax."""
