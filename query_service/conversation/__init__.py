"""Sessions: turns that are stored, and questions that lean on the turns before."""
