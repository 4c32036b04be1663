"""What it is to unlearn one sample: data, models, algorithms and the engine. Needs torch only."""
