"""Ways to lay points of many dimensions into a plane. One file, one method."""
