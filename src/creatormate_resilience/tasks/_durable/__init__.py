"""What a durable engine is made of, whatever queue it stands on: its table, its worker, its answers."""
