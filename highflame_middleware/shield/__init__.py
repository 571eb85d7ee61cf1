"""Highflame Shield over the network: its wire, its client, and the guard that asks it.

Only `wire` and what it is made of are pure; what does I/O is loaded when it is used.
"""
