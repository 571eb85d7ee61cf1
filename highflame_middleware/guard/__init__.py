"""What a verdict means: the guard protocol, modes and failure policy, redaction. Pure."""
