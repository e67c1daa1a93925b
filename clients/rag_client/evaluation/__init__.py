"""How good the service is on a judged collection, seen through its contract. Needs the extra `eval`."""
