"""The command line: parse, call, and report what is wrong in one line."""
