"""What is switched on and off, and what stands in its place: `segments`, `baselines`, `align`."""
