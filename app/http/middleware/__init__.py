"""Middleware around every request, as pure ASGI; ``application`` adds the outermost last."""
