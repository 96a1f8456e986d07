"""The advisor: one read-only look at a database, and what it found wrong with it."""
