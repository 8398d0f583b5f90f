"""The only rooms that know a document of MongoDB: one a noun."""
