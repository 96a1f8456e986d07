"""A service whose agents answer questions about channels, and go on answering while their upstreams fail."""
