"""Questions that the served bundle answered once: the frontier, rivals, and documents made from reports."""
