"""The closed union of records, their codec and their schemas."""
