"""The commands, a file each: `run` parses the arguments, does the work, returns the exit code."""
