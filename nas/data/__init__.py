"""Images and labels: named data sets, folders, arrays, the split."""
