"""What the advisor asks PostgreSQL, and what it makes of the answers."""
