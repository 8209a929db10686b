"""Changes of a graph, what they cost, and the designs that they give."""
