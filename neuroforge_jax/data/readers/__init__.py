"""Files of samples: IDX, tables, arrays."""
