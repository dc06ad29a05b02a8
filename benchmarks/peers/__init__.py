"""The same films through other serving frameworks; ``../README.md`` says how each is set."""
