"""Files of a data set in folders and archives, and the layout of class folders."""
