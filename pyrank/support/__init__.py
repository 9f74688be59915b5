"""What every other part stands on: errors, optional packages, progress, memory, text and files."""
