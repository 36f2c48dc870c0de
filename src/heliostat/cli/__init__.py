"""The command line: one module per command, and `main`, which finds it and turns every error into a line."""
