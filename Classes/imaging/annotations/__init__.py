"""Read which cells people have marked in photographs; one reader per file format.

Start with folder.py, which reads all annotations of a folder; record.py has what they have in common.
"""
