"""Results -> statistics -> figures, tables, claims, report.

    python -m analysis results/NAME

Reads `runs.parquet` and `curves.parquet` of one or more studies and nothing else.
"""
