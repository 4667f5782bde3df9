"""From corpora on disk to batches: readers, decoding, splits; and making corpora: attacks, builder, augmentation."""
