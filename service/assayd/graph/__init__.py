"""Pure functions from a model to a model: admit, tidy, open the batch axis. The door is `programs.programs_of`."""
