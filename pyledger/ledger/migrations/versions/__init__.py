"""One revision a file, each beside its .sql."""
