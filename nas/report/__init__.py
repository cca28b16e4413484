"""The HTML report of a study and the pictures in it."""
