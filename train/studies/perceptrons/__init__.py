"""Thousands of small networks: whether it matters which steps the loss picks, to hundredths of a percentage point."""
