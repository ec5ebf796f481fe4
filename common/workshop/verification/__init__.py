"""Proof of reproduction: is a recorded run what it claims to be, and does it give the same result here?"""
