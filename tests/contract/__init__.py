"""Schemathesis over the OpenAPI document, against a real server."""
