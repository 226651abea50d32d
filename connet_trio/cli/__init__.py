"""The commands: arguments, signals and logging. Only `__main__` and the installed script import it."""
