"""Slow, plain references to hold fast code against."""
