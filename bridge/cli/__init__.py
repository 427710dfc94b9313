"""The command: one file per group of commands; typer and rich only here."""
