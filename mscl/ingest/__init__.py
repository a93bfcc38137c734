"""Room ingest: annotation files and videos -> the manifest, one row a segment, with a verdict per video."""
