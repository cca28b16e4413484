"""Exported files read by a process of their own, and their claims derived again."""
