"""The phases of an analysis and what each operation reads."""
