"""Slow, plain references to hold fast code against. They share no code with it."""
