"""IngestService: turns directories of papers into published indexes."""
