"""The live view, tables and plots in text."""
