"""Books in memory and the answers they give."""
