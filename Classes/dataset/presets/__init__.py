"""Published data sets: their folders, classes, patients and known problems."""
