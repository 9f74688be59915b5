"""What is asked for, as immutable and validated values; nothing here computes."""
