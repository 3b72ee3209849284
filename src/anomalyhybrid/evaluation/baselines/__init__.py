"""The field's simple anomaly generators, which ours have to beat (PROTOCOL: rows of every comparison table)."""
