"""QueryService: answers questions from published indexes, and administers the caches."""
