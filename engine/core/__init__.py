"""What every room uses: errors, progress, text, the clock. Reads and writes no data."""
