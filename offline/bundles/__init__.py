"""Make a bundle from a fitted run: measure, describe, sign and write it."""
