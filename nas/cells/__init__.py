"""What a searched network is made of: its skeleton, the blocks between its cells, the cells of a genotype."""
