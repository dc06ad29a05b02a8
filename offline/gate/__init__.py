"""The gate: features of films, their Gaussian, its threshold, and the checks beside it."""
