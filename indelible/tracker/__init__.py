"""Sweeps, their record in MLflow and the command line: the only package that knows both."""
