"""What is managed and what was spent, in a database: SQLite, PostgreSQL, MySQL or MariaDB. SQLAlchemy is imported here
and nowhere else, and only where a database is used."""
