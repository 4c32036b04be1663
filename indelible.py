"""Which training samples are hard to unlearn, why, and could we have known before trying?

The public face of the packages beside it: `python -m indelible` is the console script.
"""

from tracker import __version__

__all__ = ["__version__"]

if __name__ == "__main__":
    from tracker.cli import main

    main()
