"""Where a network looks: integrated gradients over time and frequency, and the attention of AASIST's graphs."""
