"""Tasks: what the targets are, which losses fit, how good an answer is, and what the head must give."""
