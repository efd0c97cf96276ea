"""Models, specs and tensors on disk, by digest; names and versions above them."""
