"""Export: a generated set in the layouts that other tools read."""
