"""`python -m indelible` is the console script."""

from indelible.tracker.cli import main

main()
