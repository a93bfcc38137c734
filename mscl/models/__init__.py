"""Encoders, neck, queues, and the MSCL and MoCo modules made of them."""
