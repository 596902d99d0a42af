"""Make statistics, tables and figures of training runs from their records."""
