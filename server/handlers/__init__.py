"""What each operation does, by noun. A handler reads, decodes, hands over, and answers; it decides nothing."""
