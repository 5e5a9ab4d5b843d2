"""The command line: `python -m train_cli <command>`, one file a command, no logic of its own."""
