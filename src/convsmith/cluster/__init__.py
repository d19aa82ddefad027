"""Many tasks on the cores of this machine or on a cluster, through joblib."""
