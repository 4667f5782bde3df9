"""From a corpus on disk to one table of utterances: a registry of small functions, one per layout.

A reader takes the root of a corpus and returns `Utterance` rows, nothing else: it decodes no audio and draws no crops.
"""

from __future__ import annotations

from nas.data.readers.registry import layouts, read, reader, require_both_classes

__all__ = ["layouts", "read", "reader", "require_both_classes"]
