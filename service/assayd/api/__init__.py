"""gRPC: servicers, the codec between wire and domain, errors to statuses, interceptors, health."""
