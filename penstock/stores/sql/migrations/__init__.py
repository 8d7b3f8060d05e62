"""What brought the tables from each version to the next, in Alembic's form."""
