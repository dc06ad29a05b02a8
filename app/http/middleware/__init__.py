"""What wraps every request: pure ASGI, outermost first in ``application``."""
