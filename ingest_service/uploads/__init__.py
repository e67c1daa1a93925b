"""Uploaded papers: received aside, stored all at once or not at all."""

from ingest_service.uploads.parts import Chunk, Effect, End, File, Part, Start, Stored, StoredFile
from ingest_service.uploads.receiving import Uploads

__all__ = ["Chunk", "Effect", "End", "File", "Part", "Start", "Stored", "StoredFile", "Uploads"]
