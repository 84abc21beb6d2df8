"""The database: schema, ingest, queries, quality."""
