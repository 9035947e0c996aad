"""The generated tables of the documentation, one module for each kind of table."""
