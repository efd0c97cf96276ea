"""Assay's server: explains ONNX models over gRPC by perturbing their inputs."""
