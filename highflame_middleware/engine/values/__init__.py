"""What has a place in a text and a form to check: credentials, personal data, numbers; `scan` finds them all."""
