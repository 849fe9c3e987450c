"""Host configuration and stack file: text in, checked settings out, or every fault with its line."""
