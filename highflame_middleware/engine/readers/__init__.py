"""What is said of a whole text, as facts under Shield's keys: each reader reads it piece by piece. All: `table`."""
