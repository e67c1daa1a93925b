"""gRPC plumbing that is the same for every service and client."""
