"""Between the contract's messages and what the service works with: the only room beside the servicer to know them."""
