"""What sets the stacks to work: time passing."""
