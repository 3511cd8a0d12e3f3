"""Checks the shapes and dtypes in signatures while tests run; a whole number passes for a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
