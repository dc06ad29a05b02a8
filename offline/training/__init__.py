"""Train, harden, and combine networks."""
