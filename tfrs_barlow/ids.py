"""The reserved item ids, which every package knows."""

PADDING_ID = 0
"""Fills a row up to the length of its batch: no item."""

MASK_ID = 1
"""Stands for an item that an augmentation has hidden."""

OUT_OF_VOCABULARY_ID = 2
"""Stands for every item the vocabulary does not know."""

FIRST_ITEM_ID = 3
"""The id of the first real item."""
