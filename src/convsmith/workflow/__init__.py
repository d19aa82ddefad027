"""The way through the house: a recipe and its data are put together, trained, judged and reported."""
