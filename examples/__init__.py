"""Applications built with creatormate-resilience, to run and to copy from."""
