"""Turn folders of images into TFRecord shards without data leakage: find, group, deduplicate, split, audit.

Start with Classes/Data.py (prepare_dataset), then grouping.py and splitting.py.
"""
