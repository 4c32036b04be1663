"""What is built on sweeps: predictions of difficulty, tuning, advice, and deletion requests."""
