"""A simulated PostgreSQL and simulated writers, to try the commit protocol in histories without number."""
