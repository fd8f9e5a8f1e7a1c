"""A page as one HTML file: made to fit into a mail, then written."""
