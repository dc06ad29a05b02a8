"""Fit the gate: features of films, their Gaussian and its threshold; and the checks of orientation and content."""
