"""What runs in the hospital: the pipeline, the engine around it, and the HTTP surface."""

__version__ = "0.1.0"
