"""The commands that make a model: train, fit, attack, evaluate, export. They import ``app.pipeline``, never the reverse."""
