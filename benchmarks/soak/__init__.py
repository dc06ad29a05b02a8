"""The service under steady load for long: whether its memory and its latency stay where they were (``make soak``)."""
