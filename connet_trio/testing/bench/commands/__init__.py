"""The subcommands of `scripts/bench`, a module for each."""
