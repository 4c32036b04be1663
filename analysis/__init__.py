"""From rows to answers: a DuckDB warehouse, its SQL, statistics, figures and the report.

The only package that knows DuckDB; it knows neither torch nor MLflow.
"""
