"""The trigger board's program, for MicroPython on an RP2040; the host and the simulated rig read the same files."""
