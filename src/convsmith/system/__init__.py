"""Files, locks, devices, random numbers, signals, memory."""
