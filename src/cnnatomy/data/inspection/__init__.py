"""Looking at a data set before anything is trained on it: what is in it, what is wrong with it, how it looks."""
