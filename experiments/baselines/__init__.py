"""The hand-made systems that the search is measured against."""
