"""The frontier of docs/research.md: what each defence costs in accuracy and false rejection, and what still passes it."""
