"""The service on many machines, by Ray Serve; nothing else of ``app`` imports this, and one machine needs none of it."""
