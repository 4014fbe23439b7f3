"""Turn folders of images into TFRecord shards without leaks: find files, group by patient, find copies, split, audit.

Start with Classes/Data.py (prepare_dataset), then grouping.py and splitting.py.
"""
