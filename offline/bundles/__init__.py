"""A fitted run becomes a bundle: measured, described, signed and written."""
