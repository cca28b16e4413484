"""What a command does, composed of the packages below."""
