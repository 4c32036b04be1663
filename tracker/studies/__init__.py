"""What is built on sweeps: predictions of difficulty, tuning, advice, and deletion requests."""

# Artifacts of parent runs, which those who only read ask for.
SAMPLES = "samples.txt"  # of a tuning: the ids, in the order of being tried
REQUESTS = "requests.json"  # of an unlearning: its requests, in the order of the steps
RECORD = "record.json"  # of an unlearning: what was asked, done and measured
