"""The rows of the program, one module each: `<id>_<words>.py` with a constant `ROW`. All that stand here are run."""
