"""Bugs on purpose, with the row that must catch each: a campaign that does not catch them all is no evidence."""
