"""What a SealedSecret of git says: read, checked, turned into the Secret that it becomes. Pure: no key, no cipher."""
