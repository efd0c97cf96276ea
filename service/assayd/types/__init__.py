"""Frozen values that the other rooms pass to each other. Import them from the module that defines them."""
