"""The frontier of research/README.md: what each defence costs in accuracy and false rejection, and what still passes it."""
