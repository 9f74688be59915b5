"""How a chain is computed: backends, runs and what they leave behind."""
