"""What runs where the model is made: train, fit, attack, evaluate, export. Imports ``app.pipeline``, never the reverse."""
