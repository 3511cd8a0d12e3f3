"""How the names of data files end, in lower case: what a file is read as."""

TEXT_TABLES = (".csv", ".tsv", ".txt", ".data", ".gz")
COLUMNAR_TABLES = (".parquet", ".arrow", ".feather")
TABLES = TEXT_TABLES + COLUMNAR_TABLES
PICTURES = (".png", ".jpg", ".jpeg")
