"""The command line: parse options, call the function, report an error in one line."""
