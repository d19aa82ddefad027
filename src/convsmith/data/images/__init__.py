"""From the bytes of a picture to 8-bit pixels at the net's size."""
