"""gRPC: servicers, validation, errors, server."""
