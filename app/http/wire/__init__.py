"""Bytes on the connection: HTTP/1.1, bodies, multipart, media types."""
