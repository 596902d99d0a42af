"""What a run showed: statistics, tables and figures, made from records alone."""
