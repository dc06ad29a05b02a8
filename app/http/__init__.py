"""The HTTP surface: routes, bodies, problems."""
