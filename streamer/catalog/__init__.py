"""Items: id <-> row, what is known of them, their frozen content vectors."""
