"""Between the messages of assay.v1 and the domain's values."""
