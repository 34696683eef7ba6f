"""The analysis commands: each module adds its arguments, reads runs and returns what it found."""
