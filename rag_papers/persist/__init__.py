"""All that touches disk: where the two services meet."""
