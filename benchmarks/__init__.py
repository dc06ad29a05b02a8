"""Side-by-side measurements: ``python -m benchmarks.serving``. Nothing in ``app`` or ``offline`` imports this."""
