"""Coverage-guided fuzzing (``make fuzz``), and what it once found or reached, tried again in ``make test``."""
