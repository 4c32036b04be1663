"""Which training samples are hard to unlearn, why, and could we have known before trying?"""

__version__ = "0.1.0"
