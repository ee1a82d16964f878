"""Command line of the project: arguments, configs, error messages, optional extras and tables."""
