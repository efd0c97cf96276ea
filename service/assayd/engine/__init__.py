"""Runs rows on a device: rows to tensors, tensors through the model, outputs to scores."""
