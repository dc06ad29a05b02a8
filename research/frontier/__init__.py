"""The frontier of research/README.md: each defence's cost in accuracy and false rejection, and the attacks that pass it."""
