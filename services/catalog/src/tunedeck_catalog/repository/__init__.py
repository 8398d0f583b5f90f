"""The catalog's collections: the only place that knows their documents, one module for each noun."""
